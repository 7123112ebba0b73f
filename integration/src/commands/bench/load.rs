//! A client for load: HTTP/1.1 on a connection of its own, with as little work for each request as can be. The machine
//! is shared with the server, so whatever the client needs is missing there.

use anyhow::{Context, Result, bail, ensure};
use cli::client::Access;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Bytes that are read at a time.
const PIECE: usize = 8 * 1024;

/// A connection that posts JSON to one path.
pub struct Load {
    stream: TlsStream<TcpStream>,
    head: String,
    /// What was sent last, then what was answered.
    buffer: Vec<u8>,
}

impl Load {
    /// Connects.
    pub async fn connect(access: &Access, path: &str) -> Result<Self> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
            access.address, access.token
        );
        Ok(Self { stream: cli::client::stream(access, b"http/1.1").await?, head, buffer: Vec::new() })
    }

    /// Posts `body`; anything but a success is an error.
    pub async fn post(&mut self, body: &str) -> Result<()> {
        self.buffer.clear();
        let request = format!("{}content-length: {}\r\n\r\n{body}", self.head, body.len());
        self.buffer.extend_from_slice(request.as_bytes());
        self.stream.write_all(&self.buffer).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        let (mut code, mut length) = (0, None);
        while length.is_none_or(|length| self.buffer.len() < length) {
            self.buffer.reserve(PIECE);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the gateway has closed the connection");
            }
            if length.is_none()
                && let Some(end) = end_of_head(&self.buffer)
            {
                let head = std::str::from_utf8(&self.buffer[..end])?;
                code = head.get(9..12).and_then(|code| code.parse().ok()).context("no status")?;
                length = Some(end + length_of_body(head).context("no length")?);
            }
        }
        ensure!(
            (200..300).contains(&code),
            "the answer is {code}: {}",
            String::from_utf8_lossy(&self.buffer)
        );
        Ok(())
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn length_of_body(head: &str) -> Option<usize> {
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    head.lines().find_map(value)
}
