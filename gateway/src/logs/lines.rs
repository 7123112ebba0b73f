//! From the CRI log format (`<time> stdout|stderr F|P <text>`) to plain lines.

use std::collections::VecDeque;

use apimachinery::options::Params;
use apimachinery::status::Status;
use apimachinery::time::Micros;

use crate::answer::Refused;

/// What a client wants of a log.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Each line with its time in front.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Only lines from this moment on, µs since 1970.
    pub since_us: Option<i64>,
    /// At most so many bytes.
    pub limit: Option<usize>,
}

impl Options {
    /// Reads and checks them.
    ///
    /// # Errors
    /// 400 with the parameter that is wrong.
    pub fn parse(params: &Params, now_us: i64) -> Result<Self, Refused> {
        let wrong = |name: &str, text: &str| {
            Box::new(Status::bad_request(format!("parameter {name}: {text:?} is not a number of at least 0")))
        };
        let number = |name: &str| -> Result<Option<u64>, Refused> {
            let text = params.get(name).filter(|t| !t.is_empty());
            text.map(|t| t.parse::<u64>().map_err(|_| wrong(name, t))).transpose()
        };
        let seconds = number("sinceSeconds")?;
        let time = params.get("sinceTime").filter(|t| !t.is_empty());
        if seconds.is_some() && time.is_some() {
            return Err(Box::new(Status::bad_request(
                "at most one of sinceTime or sinceSeconds may be specified",
            )));
        }
        let since_us = match (seconds, time) {
            (Some(seconds), _) => {
                Some(now_us.saturating_sub(i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000)))
            }
            (None, Some(time)) => {
                let parsed = Micros::parse(time);
                Some(
                    parsed
                        .ok_or_else(|| {
                            Box::new(Status::bad_request(format!("parameter sinceTime: {time:?} is no time")))
                        })?
                        .0,
                )
            }
            (None, None) => None,
        };
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Ok(Self {
            timestamps: params.flag("timestamps") == Some(true),
            tail: number("tailLines")?.map(size),
            since_us,
            limit: number("limitBytes")?.map(size),
        })
    }
}

/// Turns chunks into lines.
pub struct Lines {
    options: Options,
    rest: Vec<u8>,
    written: usize,
    /// The line before was only a part.
    continues: bool,
    skip_tail: bool,
}

impl Lines {
    /// For one client.
    pub fn new(options: Options) -> Self {
        Self { options, rest: Vec::new(), written: 0, continues: false, skip_tail: false }
    }

    /// The byte limit is reached.
    pub fn is_full(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.written >= limit)
    }

    /// What a chunk comes to.
    pub fn feed(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(chunk);
        let mut out = Vec::new();
        let mut start = 0;
        let rest = std::mem::take(&mut self.rest);
        while let Some(end) = rest[start..].iter().position(|&b| b == b'\n') {
            self.line(&rest[start..start + end], &mut out);
            start += end + 1;
        }
        self.rest = rest[start..].to_vec();
        self.cut(out)
    }

    /// What is left when the log has ended.
    pub fn finish(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.rest);
        let mut out = Vec::new();
        if !rest.is_empty() {
            self.line(&rest, &mut out);
        }
        self.cut(out)
    }

    /// The last lines of a whole log.
    pub fn tail(&mut self, whole: &[u8]) -> Vec<u8> {
        let count = self.options.tail.unwrap_or(usize::MAX);
        self.skip_tail = true;
        let mut out = Vec::new();
        for line in whole.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
            self.line(line, &mut out);
        }
        let mut last: VecDeque<&[u8]> = VecDeque::new();
        for line in out.split_inclusive(|&b| b == b'\n') {
            if last.len() == count {
                last.pop_front();
            }
            if count > 0 {
                last.push_back(line);
            }
        }
        let out: Vec<u8> = last.into_iter().flatten().copied().collect();
        self.cut(out)
    }

    fn cut(&mut self, mut out: Vec<u8>) -> Vec<u8> {
        if let Some(limit) = self.options.limit {
            out.truncate(limit.saturating_sub(self.written));
        }
        self.written += out.len();
        out
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut parts = line.splitn(4, |&b| b == b' ');
        let (Some(time), Some(_stream), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            return;
        };
        let text = parts.next().unwrap_or_default();
        let continued = std::mem::replace(&mut self.continues, tag.first() == Some(&b'P'));
        if let Some(since) = self.options.since_us {
            let at = std::str::from_utf8(time).ok().and_then(Micros::parse);
            if at.is_some_and(|at| at.0 < since) {
                return;
            }
        }
        if self.options.timestamps && !continued {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(text);
        if !self.continues {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests;
