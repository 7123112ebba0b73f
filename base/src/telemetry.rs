//! What a process tells its operators: log lines, and (with feature `otlp` and a setting) spans by OTLP.
//!
//! One trace per run: the W3C traceparent is stored on the run, and whoever works for the run later hangs its
//! spans below it, in whatever process. Bodies, tokens, parameter values and user log content are never logged.

use std::fmt;

#[cfg(feature = "otlp")]
mod otlp;

/// How a process shows itself.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// `service.name` of spans: `gateway`, `cell`, `cella`.
    pub service: &'static str,
    /// Which lines to print, as `tracing` filters: `info`, `cell=debug,warn`.
    pub filter: String,
    /// Print lines as JSON.
    pub json: bool,
    /// Base address of an OTLP/HTTP collector: `http://127.0.0.1:4318`. `None`: no export.
    pub otlp: Option<String>,
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log filter {0:?} cannot be read; write for example `info` or `cell=debug,warn`")]
    Filter(String),
    /// The collector's address is not usable.
    #[error(
        "OTLP address {0:?} cannot be used; write for example `http://127.0.0.1:4318` (TLS is the collector's sidecar's task)"
    )]
    Address(String),
    /// This build has no exporter.
    #[error("this build has no OTLP export")]
    NotBuilt,
    /// Something has started telemetry before.
    #[error("telemetry is started twice in one process")]
    Twice,
}

/// Keeps telemetry going; flushes when dropped.
pub struct Guard {
    #[cfg(feature = "otlp")]
    exporter: Option<otlp::Exporter>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter.take() {
            exporter.shutdown();
        }
    }
}

/// Starts telemetry of this process. With OTLP it must be called inside a tokio runtime.
///
/// # Errors
/// [`TelemetryError`] says which setting is wrong and what would be right.
pub fn start(settings: &Telemetry) -> Result<Guard, TelemetryError> {
    use tracing_subscriber::prelude::*;
    let filter = tracing_subscriber::EnvFilter::try_new(&settings.filter)
        .map_err(|_| TelemetryError::Filter(settings.filter.clone()))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let lines = if settings.json { lines.json().boxed() } else { lines.with_ansi(false).boxed() };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(feature = "otlp")]
    {
        let exporter = settings.otlp.as_deref().map(|to| otlp::start(settings.service, to)).transpose()?;
        registry.try_init().map_err(|_| TelemetryError::Twice)?;
        Ok(Guard { exporter })
    }
    #[cfg(not(feature = "otlp"))]
    {
        if settings.otlp.is_some() {
            return Err(TelemetryError::NotBuilt);
        }
        registry.try_init().map_err(|_| TelemetryError::Twice)?;
        Ok(Guard {})
    }
}

/// A W3C trace context (version 00), as in the header `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traceparent {
    /// Never zero.
    pub trace: u128,
    /// Never zero.
    pub span: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl Traceparent {
    /// A new trace from 24 random bytes' worth of ids; zero ids are moved to one.
    pub fn new(trace: u128, span: u64) -> Self {
        Self { trace: trace.max(1), span: span.max(1), sampled: true }
    }

    /// Reads a header value; `None` when it is not of version 00.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let shaped = version == "00" && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
        if !shaped || parts.next().is_some() || ![trace, span, flags].into_iter().all(lower_hex) {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }
}

impl Traceparent {
    /// The same trace with the span of an object: a run's span has an id before it is recorded, made of its uid.
    pub fn of(self, uid: &str) -> Self {
        let digits: Vec<u8> = uid.bytes().filter(u8::is_ascii_hexdigit).collect();
        let tail = digits.len().saturating_sub(16);
        let id =
            std::str::from_utf8(&digits[tail..]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        Self { span: id.unwrap_or(1).max(1), ..self }
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Records one finished span below `parent`. Without export it does nothing.
///
/// Spans are recorded when their end is known, with the instants that were stored: so they may come from
/// another process than the one that did the work, and a crash in between loses none that matters.
pub fn span(
    name: &'static str,
    parent: Traceparent,
    start_us: i64,
    end_us: i64,
    fields: &[(&'static str, String)],
) {
    #[cfg(feature = "otlp")]
    otlp::span(name, parent, Some(parent.span), None, start_us, end_us, fields);
    #[cfg(not(feature = "otlp"))]
    let _ = (name, parent, start_us, end_us, fields);
}

/// Records a finished span whose own id is `own.span`, so that other spans can name it as their parent before it is
/// recorded, and in other processes. Without `parent` it is the root of its trace.
pub fn known_span(
    name: &'static str,
    own: Traceparent,
    parent: Option<u64>,
    start_us: i64,
    end_us: i64,
    fields: &[(&'static str, String)],
) {
    #[cfg(feature = "otlp")]
    otlp::span(name, own, parent, Some(own.span), start_us, end_us, fields);
    #[cfg(not(feature = "otlp"))]
    let _ = (name, own, parent, start_us, end_us, fields);
}

#[cfg(test)]
mod tests;
