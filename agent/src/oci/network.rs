//! placeholder
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
pub struct Attached {
    pub address: Ipv4Addr,
}
pub fn available() -> Result<(), &'static str> {
    Err("x")
}
pub fn attach(_pid: i32, _machine: &str) -> io::Result<Attached> {
    Err(io::Error::other("x"))
}
pub fn sweep() {}
pub fn namespace(pid: i32) -> io::Result<File> {
    File::open(format!("/proc/{pid}/ns/net"))
}
pub fn resolver(_: &k8s_openapi::api::core::v1::PodSpec) -> String {
    String::new()
}
