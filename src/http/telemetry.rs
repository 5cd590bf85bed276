use std::cell::Cell;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready as poll_ready};
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{HttpServiceFactory, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, Resource, Responder, ResponseError, Route, web};
use bytes::Bytes;
use tokio::task::futures::TaskLocalFuture;

use super::client::TrustedProxies;
use super::counts::{Metrics, RouteStats};
use super::problem::{Kind, Problem};
use super::{MAX_HEADERS, MAX_TARGET};
use crate::cache::{Spent, one_budget};
use crate::config::AccessLog;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The target of the access log's lines.
const ACCESS: &str = "alacena::access";

/// The most characters of a request id that a client may choose.
const MAX_REQUEST_ID: usize = 128;

/// Sees every request of one worker: bounds its head, names it, counts it, logs it, and gives
/// errors of the framework our envelope.
#[derive(Clone)]
pub struct Telemetry {
    metrics: Metrics,
    log: AccessLog,
    proxies: Rc<TrustedProxies>,
    ids: Rc<Ids>,
}

impl Telemetry {
    /// The telemetry of the calling worker.
    pub fn new(metrics: Metrics, log: AccessLog, proxies: TrustedProxies) -> Self {
        Self {
            metrics,
            log,
            proxies: Rc::new(proxies),
            ids: Rc::new(Ids::new()),
        }
    }

    /// Observes requests to what it wraps, under this route's name.
    pub fn of(&self, pattern: &'static str) -> Observed {
        Observed {
            telemetry: self.clone(),
            pattern,
            stats: self.metrics.route(pattern),
        }
    }

    /// A resource whose requests are observed under its pattern.
    pub(super) fn resource<const N: usize>(
        &self,
        pattern: &'static str,
        routes: [Route; N],
    ) -> impl HttpServiceFactory + use<N> {
        let resource = routes
            .into_iter()
            .fold(web::resource(pattern), Resource::route);
        resource.wrap(self.of(pattern))
    }
}

/// Request ids: a random start, then one after the other.
struct Ids(Cell<u64>);

impl Ids {
    fn new() -> Self {
        Self(Cell::new(fastrand::u64(..)))
    }

    fn next(&self) -> HeaderValue {
        // Weyl sequence: neighbours look nothing alike, and none comes twice in 2^64.
        let id = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(id);
        let mut text = [0; 16];
        for (index, digit) in text.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(id >> (60 - 4 * index) & 15) as usize];
        }
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text))
            .unwrap_or(HeaderValue::from_static("0"))
    }

    /// The id the client chose, if it is fit to be logged and sent back, or else the next.
    fn of(&self, request: &ServiceRequest) -> HeaderValue {
        let chosen = request.headers().get(REQUEST_ID).filter(|id| {
            let id = id.as_bytes();
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
        });
        chosen.cloned().unwrap_or_else(|| self.next())
    }
}

/// The middleware that [`Telemetry::of`] makes.
pub struct Observed {
    telemetry: Telemetry,
    pattern: &'static str,
    stats: Arc<RouteStats>,
}

impl<S, B> Transform<S, ServiceRequest> for Observed
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type InitError = ();
    type Transform = ObservedService<S>;
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let Self {
            telemetry,
            pattern,
            stats,
        } = self;
        let (telemetry, stats) = (telemetry.clone(), Arc::clone(stats));
        ready(Ok(ObservedService {
            inner,
            telemetry,
            pattern,
            stats,
        }))
    }
}

/// See [`Observed`].
pub struct ObservedService<S> {
    inner: S,
    telemetry: Telemetry,
    pattern: &'static str,
    stats: Arc<RouteStats>,
}

impl<S, B> Service<ServiceRequest> for ObservedService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = Observing<TaskLocalFuture<Spent, S::Future>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let notes = Notes {
            started: Instant::now(),
            id: self.telemetry.ids.of(&request),
            method: request.method().clone(),
            pattern: self.pattern,
            stats: Arc::clone(&self.stats),
            log: self.telemetry.log,
            proxies: self.telemetry.proxies.clone(),
        };
        let state = match refuse(&request) {
            Some(problem) => State::Refused {
                refusal: Some((request, problem)),
            },
            None => State::Inner {
                inner: one_budget(self.inner.call(request)),
            },
        };
        Observing { state, notes }
    }
}

/// Why the request's head is not accepted.
fn refuse(request: &ServiceRequest) -> Option<Problem> {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET {
        let detail = format!("the path and query may have {MAX_TARGET} bytes together");
        return Some(Problem::because(Kind::TargetTooLong, detail));
    }
    let headers: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    (headers > MAX_HEADERS).then(|| {
        let detail = format!("the headers may have {MAX_HEADERS} bytes together");
        Problem::because(Kind::HeadTooLarge, detail)
    })
}

struct Notes {
    started: Instant,
    id: HeaderValue,
    method: Method,
    pattern: &'static str,
    stats: Arc<RouteStats>,
    log: AccessLog,
    proxies: Rc<TrustedProxies>,
}

impl Notes {
    fn take(&self, request: &HttpRequest, status: u16) {
        let took = self.started.elapsed();
        self.stats.record(&self.method, status, took);
        let wanted = match self.log {
            AccessLog::Off => false,
            AccessLog::Failures => status >= 500,
            AccessLog::All => true,
        };
        if wanted {
            let client = self.proxies.client_of(request);
            // The route's pattern and not the path: paths hold e-mail addresses.
            let Self {
                method,
                pattern,
                id,
                ..
            } = self;
            let id = id.to_str().unwrap_or_default();
            let level = if status >= 500 {
                log::Level::Warn
            } else {
                log::Level::Info
            };
            log::log!(target: ACCESS, level, "{client} {method} {pattern} {status} {took:?} id={id}");
        }
    }
}

pin_project_lite::pin_project! {
    /// See [`Observed`].
    pub struct Observing<F> {
        #[pin]
        state: State<F>,
        notes: Notes,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Refused { refusal: Option<(ServiceRequest, Problem)> },
        Inner { #[pin] inner: F },
    }
}

impl<F, B> Future for Observing<F>
where
    F: Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
    B: MessageBody + 'static,
{
    type Output = Result<ServiceResponse<BoxBody>, actix_web::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.state.project() {
            StateProjection::Refused { refusal } => match refusal.take() {
                Some((request, problem)) => request.into_response(problem.error_response()),
                None => return Poll::Pending,
            },
            StateProjection::Inner { inner } => match poll_ready!(inner.poll(context)) {
                Ok(response) => response.map_into_boxed_body(),
                // A resource turns its errors into answers itself.
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        let status = response.status();
        if status.as_u16() >= 400 && !Problem::is_json(response.headers()) {
            response = in_envelope(response);
        }
        response
            .headers_mut()
            .insert(REQUEST_ID, this.notes.id.clone());
        this.notes.take(response.request(), status.as_u16());
        Poll::Ready(Ok(response))
    }
}

/// The same answer with a problem for its body.
fn in_envelope(response: ServiceResponse) -> ServiceResponse {
    let (request, plain) = response.into_parts();
    let mut answer = Problem::envelope(plain.status()).respond_to(&request);
    for (name, value) in plain.headers() {
        if !answer.headers().contains_key(name) {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
    ServiceResponse::new(request, answer)
}
