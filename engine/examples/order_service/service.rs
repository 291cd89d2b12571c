//! The HTTP side: routes, what errors look like, and the server.

use crate::limits::{Decision, Direct, Order};
use crate::requests::{CallError, Requests};
use actix_web::dev::Server;
use actix_web::error::{InternalError, JsonPayloadError};
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::json;
use std::net::{SocketAddr, ToSocketAddrs};

/// The longest body that is read.
const BODY_BYTES: usize = 4096;
/// Seconds after which a client that was turned away may come again.
const RETRY_AFTER_S: u64 = 1;

/// What handlers share.
pub(crate) struct Service {
    /// To the query and back.
    pub(crate) requests: Requests<Order, Decision>,
    /// The floor.
    pub(crate) direct: Direct,
}

fn refuse(status: StatusCode, message: impl std::fmt::Display) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header(("Retry-After", RETRY_AFTER_S));
    }
    response.json(json!({ "error": message.to_string() }))
}

/// What is wrong with an order that could be read.
fn check(order: &Order) -> Result<(), &'static str> {
    if order.amount_cents == 0 { Err("amount_cents: an order is for at least 1 cent") } else { Ok(()) }
}

/// `POST /orders`: the query decides, within this request.
async fn order(service: web::Data<Service>, order: web::Json<Order>) -> HttpResponse {
    let order = order.into_inner();
    if let Err(wrong) = check(&order) {
        return refuse(StatusCode::BAD_REQUEST, wrong);
    }
    match service.requests.call(order).await {
        Ok(decision) => HttpResponse::Ok().json(decision),
        Err(error @ (CallError::Full | CallError::Closed)) => refuse(StatusCode::SERVICE_UNAVAILABLE, error),
        Err(error @ CallError::TimedOut) => refuse(StatusCode::GATEWAY_TIMEOUT, error),
    }
}

/// `POST /orders/direct`: the same handler without the engine.
async fn order_directly(service: web::Data<Service>, order: web::Json<Order>) -> HttpResponse {
    match check(&order) {
        Ok(()) => HttpResponse::Ok().json(service.direct.decide(&order)),
        Err(wrong) => refuse(StatusCode::BAD_REQUEST, wrong),
    }
}

/// `GET /health`: how many requests wait for their reply.
async fn health(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "in_flight": service.requests.in_flight() }))
}

/// A body that is not an order, in words.
fn bad_body(error: JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    let status = match &error {
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        _ => StatusCode::BAD_REQUEST,
    };
    let message = match &error {
        JsonPayloadError::ContentType => {
            "send JSON with the header `Content-Type: application/json`".to_owned()
        }
        error => error.to_string(),
    };
    InternalError::from_response(error, refuse(status, message)).into()
}

/// Binds the server; it runs as long as the returned future is awaited, and ends in order on Ctrl-C or
/// SIGTERM.
///
/// # Errors
/// If the address cannot be bound.
pub(crate) fn serve(
    service: Service,
    address: impl ToSocketAddrs,
    workers: usize,
) -> std::io::Result<(Server, Vec<SocketAddr>)> {
    let service = web::Data::new(service);
    let app = move || {
        App::new()
            .app_data(service.clone())
            .app_data(web::JsonConfig::default().limit(BODY_BYTES).error_handler(bad_body))
            .route("/orders", web::post().to(order))
            .route("/orders/direct", web::post().to(order_directly))
            .route("/health", web::get().to(health))
    };
    let server = HttpServer::new(app).workers(workers).shutdown_timeout(5).bind(address)?;
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}
