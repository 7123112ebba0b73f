//! Export of spans by OTLP over HTTP.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::Span as _;
use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

use super::{TelemetryError, Traceparent};

static TRACER: OnceLock<SdkTracer> = OnceLock::new();
const ANSWER_MAX: usize = 1 << 20;
const FLUSH_MAX: Duration = Duration::from_secs(3);

pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    pub(super) fn shutdown(self) {
        // A collector that is away must not keep the process.
        drop(self.0.shutdown_with_timeout(FLUSH_MAX));
    }
}

pub(super) fn start(service: &'static str, to: &str) -> Result<Exporter, TelemetryError> {
    let wrong = || TelemetryError::Address(to.to_owned());
    let uri: Uri = to.parse().map_err(|_| wrong())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(wrong());
    }
    let http =
        Http { runtime: Handle::current(), client: Client::builder(TokioExecutor::new()).build_http() };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(http)
        .with_endpoint(format!("{}/v1/traces", to.trim_end_matches('/')))
        .build()
        .map_err(|_| wrong())?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(Ids::default())
        .with_resource(Resource::builder().with_service_name(service).build())
        .build();
    TRACER.set(provider.tracer("cella")).map_err(|_| TelemetryError::Twice)?;
    Ok(Exporter(provider))
}

pub(super) fn span(
    name: &'static str,
    trace: Traceparent,
    parent: Option<u64>,
    own: Option<u64>,
    start_us: i64,
    end_us: i64,
    fields: &[(&'static str, String)],
) {
    let Some(tracer) = TRACER.get().filter(|_| trace.sampled) else { return };
    let attributes: Vec<_> = fields.iter().map(|(key, value)| KeyValue::new(*key, value.clone())).collect();
    let builder = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Internal)
        .with_start_time(at(start_us))
        .with_attributes(attributes);
    // A root has no parent, but its trace and span id are already known to its children.
    let context = match parent {
        None => Context::new(),
        Some(parent) => Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from(trace.trace),
            SpanId::from(parent),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        )),
    };
    OWN.set(own.map(|id| (TraceId::from(trace.trace), SpanId::from(id))));
    let mut span = tracer.build_with_context(builder, &context);
    OWN.set(None);
    span.end_with_timestamp(at(end_us));
}

thread_local! {
    /// Ids that the span being built on this thread shall have.
    static OWN: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, but for spans whose ids were given away before.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        OWN.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        OWN.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

fn at(us: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// The SDK's exporter thread has no runtime: requests run on ours.
#[derive(Debug)]
struct Http {
    runtime: Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let answer = self.runtime.spawn(async move {
            let (parts, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(parts, body))
        });
        answer.await?
    }
}
