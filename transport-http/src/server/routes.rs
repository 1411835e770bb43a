//! From the request line to what answers it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body::Body;
use matchit::Router;
use roadbed_core::{Address, Condition};

use super::body::ResponseBody;
use super::connection::Connection;
use super::reply::{Failure, Reply, empty};
use super::{Server, info, locks, logs, nodes, poll, post, transactions};

/// The requests of one connection, or of many that share their sessions, as a service for hyper and tower: to be mounted
/// wherever requests come from.
///
/// ```no_run
/// # async fn example(server: roadbed_http::Server, request: http::Request<hyper::body::Incoming>) {
/// use tower_service::Service;
/// let mut routes = server.routes();
/// let response = routes.call(request).await;
/// # }
/// ```
#[derive(Clone)]
pub struct Routes(Arc<Connection>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Info,
    Messages,
    Lock,
    Verb,
    Subscription,
    Queue,
    Log,
    Partition,
    Checkpoint,
    Transactions,
    Transaction,
    Discharge,
}

pub(super) fn router() -> Router<Route> {
    let mut router = Router::new();
    for (path, route) in [
        ("/v1", Route::Info),
        ("/v1/messages/{*address}", Route::Messages),
        ("/v1/locks/{token}", Route::Lock),
        ("/v1/locks/{token}/{verb}", Route::Verb),
        ("/v1/subscriptions/{*name}", Route::Subscription),
        ("/v1/queues/{*name}", Route::Queue),
        ("/v1/logs/{name}", Route::Log),
        ("/v1/logs/{name}/{partition}", Route::Partition),
        ("/v1/logs/{name}/groups/{group}/{partition}", Route::Checkpoint),
        ("/v1/transactions", Route::Transactions),
        ("/v1/transactions/{id}", Route::Transaction),
        ("/v1/transactions/{id}/{verb}", Route::Discharge),
    ] {
        router.insert(path, route).expect("the paths are different");
    }
    router
}

/// The address that a path names. It is the raw path: nothing was normalised.
pub(super) fn address(path: &str) -> Result<Address, Failure> {
    Address::from_path(path).map_err(|error| {
        let detail = format!("{path:?} is no address: {error}. All but its slashes is percent-encoded.");
        Failure::refused(StatusCode::BAD_REQUEST, Condition::InvalidAddress, detail)
    })
}

impl Server {
    /// The requests as a service. Its clones share their sessions, each principal one.
    pub fn routes(&self) -> Routes {
        Routes::on(Connection::new(self.0.clone(), None, Arc::default()))
    }
}

impl Routes {
    pub(super) fn on(connection: Connection) -> Self {
        Self(Arc::new(connection))
    }

    /// Answers one request.
    pub async fn respond<B>(self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
    {
        let multiplexed = request.version() >= Version::HTTP_2;
        let active = self.0.watch.as_ref().map(|watch| watch.request(multiplexed));
        self.0.shared.meters.requests.one();
        let (mut head, body) = request.into_parts();
        let reply = match self.0.shared.upgrade(&mut head, &self.0.peer) {
            Some(reply) => reply,
            None => self.dispatch(&head, body).await,
        };
        let reply = reply.unwrap_or_else(Failure::reply);
        reply.map(|body| body.active(active))
    }

    async fn dispatch<B>(&self, head: &request::Parts, body: B) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes>,
    {
        let connection = &*self.0;
        let Ok(found) = connection.shared.router.at(head.uri.path()) else {
            return self.fall_back(head);
        };
        let param = |name| found.params.get(name).unwrap_or_default();
        let allow = found.value.methods();
        if head.method == Method::OPTIONS {
            return Ok(options(allow));
        }
        let method = head.method.as_str();
        if !allow.split(", ").any(|allowed| allowed == method) {
            return Err(Failure::method(allow));
        }
        match (found.value, method) {
            (Route::Messages, "POST") => post::post(connection, param("address"), head, body).await,
            (Route::Messages, "GET") => poll::poll(connection, param("address"), head).await,
            (Route::Messages, "HEAD") => poll::backlog(connection, param("address"), head).await,
            (Route::Messages, _) => nodes::purge(connection, param("address"), head).await,
            (Route::Lock, _) => locks::complete(connection, param("token"), head).await,
            (Route::Verb, _) => locks::verb(connection, param("token"), param("verb"), head, body).await,
            (Route::Subscription, "PUT") => nodes::subscribe(connection, param("name"), head, body).await,
            (Route::Subscription, "POST") => nodes::change(connection, param("name"), head, body).await,
            (Route::Queue, "PUT") => nodes::declare(connection, param("name"), head, body).await,
            (Route::Subscription | Route::Queue, "DELETE") => nodes::delete(connection, param("name"), head).await,
            (Route::Subscription | Route::Queue, _) => nodes::describe(connection, param("name"), head).await,
            (Route::Log, "PUT") => logs::declare(connection, param("name"), head, body).await,
            (Route::Log, "POST") => logs::follow(connection, param("name"), head, body).await,
            (Route::Log, "DELETE") => logs::delete(connection, param("name"), head).await,
            (Route::Log, _) => logs::describe(connection, param("name"), head).await,
            (Route::Partition, "DELETE") => logs::trim(connection, param("name"), param("partition"), head).await,
            (Route::Partition, _) => logs::read(connection, param("name"), param("partition"), head).await,
            (Route::Checkpoint, "PUT") => {
                let place = (param("name"), param("partition"), param("group"));
                logs::set_checkpoint(connection, place, head, body).await
            }
            (Route::Checkpoint, _) => {
                logs::checkpoint(connection, (param("name"), param("partition"), param("group")), head).await
            }
            (Route::Transactions, _) => transactions::declare(connection, head).await,
            (Route::Transaction, _) => transactions::describe(connection, param("id"), head).await,
            (Route::Discharge, _) => transactions::discharge(connection, param("id"), param("verb"), head).await,
            (Route::Info, _) => info::info(connection, head).await,
        }
    }

    fn fall_back(&self, head: &request::Parts) -> Result<Reply, Failure> {
        let fallback = self.0.shared.fallback.as_ref();
        match fallback.and_then(|fallback| fallback(head)) {
            Some(response) => Ok(response.map(ResponseBody::from)),
            None => Err(Failure::new(
                StatusCode::NOT_FOUND,
                "no-such-resource",
                "there is no such resource",
                "The paths are /v1, /v1/messages/ADDRESS, /v1/locks/TOKEN, /v1/subscriptions/NAME, /v1/queues/NAME, \
                 /v1/logs/NAME and /v1/transactions.",
            )),
        }
    }
}

impl Route {
    /// The methods, as `Allow` lists them.
    fn methods(self) -> &'static str {
        match self {
            Self::Info | Self::Transaction => "GET, HEAD, OPTIONS",
            Self::Messages => "POST, GET, HEAD, DELETE, OPTIONS",
            Self::Lock => "DELETE, OPTIONS",
            Self::Verb | Self::Transactions | Self::Discharge => "POST, OPTIONS",
            Self::Subscription | Self::Log => "PUT, POST, GET, HEAD, DELETE, OPTIONS",
            Self::Queue => "PUT, GET, HEAD, DELETE, OPTIONS",
            Self::Partition => "GET, HEAD, DELETE, OPTIONS",
            Self::Checkpoint => "PUT, GET, HEAD, OPTIONS",
        }
    }
}

fn options(allow: &'static str) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    reply.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static(allow));
    reply
}

type Responding = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

impl<B> tower_service::Service<Request<B>> for Routes
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Responding;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Responding {
        let routes = self.clone();
        Box::pin(async move { Ok(routes.respond(request).await) })
    }
}

impl<B> hyper::service::Service<Request<B>> for Routes
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Responding;

    fn call(&self, request: Request<B>) -> Responding {
        let routes = self.clone();
        Box::pin(async move { Ok(routes.respond(request).await) })
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}
