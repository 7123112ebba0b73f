//! How a gateway and a cell speak to each other: paths, and (one place) who may call them.
//!
//! Both are called through `base::host::Net` at the address in the cell's heartbeat row, with
//! `Authorization: Bearer <peer token>`; the token is a secret that gateway and cells of one installation share
//! in their configuration. It is compared in constant time by the receiver.

/// `POST`: there is due work for this cell. Body: empty. The cell keeps the request open until it has looked.
/// It only saves latency; the Due rows are the truth.
pub const WAKE: &str = "/cell/v1/wake";

/// `GET /cell/v1/logs/{tenant}/{namespace}/{pod uid}/{container}?offset=N&follow=true|false`: the container's
/// log in the CRI format from byte N. With `follow` the answer ends when the container has ended; without, at
/// what is there. `x-cella-log-ended: true` says that nothing will be added. 404: nothing is known of that log.
pub const LOGS: &str = "/cell/v1/logs";
