//! HTTP without a wire: requests to the routes of a server over a broker. hyper's part is not in it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use roadbed_http::{HttpConfig, Routes, Server};

/// A client of a server.
#[derive(Debug, Clone)]
pub struct Client(Routes);

impl Client {
    /// A client of a new server over `endpoint`.
    pub fn new(endpoint: std::sync::Arc<dyn roadbed_core::Endpoint>) -> Self {
        Self(Server::new(endpoint, HttpConfig::default()).expect("a server").routes())
    }

    /// Posts a message.
    pub async fn post(&self, address: &str, body: Bytes) {
        let (status, ..) = self.ask(Method::POST, &format!("/v1/messages/{address}"), &[], body).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }

    /// Takes a message out of a queue under a lock, waiting if there is none: its bytes, as they are handed to hyper, and the lock's token.
    pub async fn poll(&self, address: &str) -> (Vec<Bytes>, String) {
        let wait = [("prefer", "wait=10")];
        let (status, headers, body) =
            self.ask(Method::GET, &format!("/v1/messages/{address}"), &wait, Bytes::new()).await;
        assert_eq!(status, StatusCode::OK);
        let token = headers[header::ETAG].to_str().expect("a token is ASCII").trim_matches('"').to_owned();
        (body, token)
    }

    /// Completes a message.
    pub async fn complete(&self, token: &str) {
        let (status, ..) = self.ask(Method::DELETE, &format!("/v1/locks/{token}"), &[], Bytes::new()).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> (StatusCode, HeaderMap, Vec<Bytes>) {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(body)).expect("a legal request");
        let (head, mut body) = self.0.clone().respond(request).await.into_parts();
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.extend(frame.expect("bodies do not fail").into_data());
        }
        (head.status, head.headers, frames)
    }
}
