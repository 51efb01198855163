//! The yardstick: an actix handler that reads the body and answers, in a process of its own.

use std::{
    net::SocketAddr,
    process::{Child, Command},
};

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::support::{app::free_port, eventually, http::Client};

/// Makes this program the handler.
pub const ARGUMENT: &str = "--empty-handler";

async fn answer(_body: web::Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"accepted","seq":1}"#)
}

/// Serves until it is killed, with as many workers as the service has by default: one per core.
pub fn serve(address: &str) {
    let app = || App::new().route("/webhooks/{source}", web::post().to(answer));
    actix_web::rt::System::new().block_on(HttpServer::new(app).bind(address).unwrap().run()).unwrap();
}

/// A running one; killed when dropped.
pub struct Empty {
    child: Child,
    pub address: SocketAddr,
}

impl Empty {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        let address = free_port();
        let child = Command::new(std::env::current_exe().unwrap()).arg(ARGUMENT).arg(address.to_string()).spawn();
        let this = Self { child: child.unwrap(), address };
        eventually("the empty handler answers", || Client::connect(address).is_ok());
        this
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
