//! One port in front of several replicas: bytes go to one that takes them, whatever they say. Clients and gateways
//! keep their TLS to themselves.

use std::sync::Arc;
use std::time::Duration;

use base::host::{Clock, Host};
use tokio::net::{TcpListener, TcpStream};

/// Pause after a connection cannot be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` by passing connections on to `ports` of this host, in turn.
pub async fn serve(listener: TcpListener, ports: Vec<u16>, host: Host) {
    let (ports, clock): (Arc<[u16]>, Arc<dyn Clock>) = (ports.into(), host.clock.clone());
    let mut turn = 0_usize;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            clock.sleep(PAUSE).await;
            continue;
        };
        let (ports, first) = (ports.clone(), turn);
        turn = turn.wrapping_add(1);
        host.spawn("front", async move { pass_on(client, &ports, first).await });
    }
}

async fn pass_on(mut client: TcpStream, ports: &[u16], first: usize) {
    let _ = client.set_nodelay(true);
    for n in 0..ports.len() {
        let port = ports[first.wrapping_add(n) % ports.len()];
        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
            let _ = server.set_nodelay(true);
            // Whoever ends it, ends it for both.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
