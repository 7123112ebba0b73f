//! Cells on the memory store, with machines that only exist in a list and agents that follow a script.

mod again;
mod cloudevents;
mod elsewhere;
mod ends;
mod fences;
mod outside;
mod peers;
mod pipelines;
mod resolvers;
mod rig;
mod volumes;
