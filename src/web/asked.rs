//! What the operator's paths are asked in their query, and how each of them says no: as JSON that names what is wrong.

use std::future::{Ready, ready};

use actix_web::{
    Error, FromRequest, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceResponse},
    error::{ErrorBadRequest, JsonPayloadError},
    http::{StatusCode, header},
    web,
};
use serde::de::DeserializeOwned;
use serde_json::json;

/// A request's query, of which any part may be left out.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Asked<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let whole = request.query_string();
        let read = |query: &str| web::Query::<T>::from_query(query);
        ready(read(whole).map(|query| Self(query.into_inner())).map_err(|error| {
            // The reader does not say which one it stopped at.
            let wrong = whole.split('&').find_map(|part| Some((part, read(part).err()?)));
            ErrorBadRequest(match wrong {
                Some((part, error)) => format!("`{}`: {error}", part.split('=').next().unwrap_or_default()),
                None => error.to_string(),
            })
        }))
    }
}

/// Whatever a request was refused for, as the handlers say it: `{"error": …}`.
pub fn said_as_json<B: MessageBody + 'static>(answer: ServiceResponse<B>) -> ServiceResponse {
    let is_json = |answer: &ServiceResponse<B>| {
        answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
    };
    let status = answer.status();
    if !status.is_client_error() || is_json(&answer) {
        return answer.map_into_boxed_body();
    }
    let reason = match (answer.response().error(), status) {
        (Some(error), _) if matches!(error.as_error(), Some(JsonPayloadError::ContentType)) => {
            "the Content-Type must be application/json".to_owned()
        }
        (Some(error), _) => error.to_string(),
        (None, StatusCode::NOT_FOUND) => "there is no such path".to_owned(),
        (None, StatusCode::METHOD_NOT_ALLOWED) => format!("{} is not for this path", answer.request().method()),
        (None, _) => status.canonical_reason().unwrap_or("refused").to_owned(),
    };
    answer.map_body(|head, _| {
        head.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        BoxBody::new(json!({ "error": reason }).to_string())
    })
}
