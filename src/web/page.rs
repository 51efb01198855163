//! The operator's page at `/`: three files in the program, no build step, nothing from elsewhere. It shows what the admin
//! API says and changes nothing.

use actix_web::{HttpResponse, http::header, web};

/// No inline script or style, nothing from another origin, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, content type, content.
const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
];

/// The paths.
pub fn routes(config: &mut web::ServiceConfig) {
    for (path, kind, content) in FILES {
        let answer = move || async move {
            HttpResponse::Ok()
                .content_type(kind)
                .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
                .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
                .insert_header((header::REFERRER_POLICY, "no-referrer"))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .body(content)
        };
        config.service(super::reading(path, answer));
    }
}
