//! Real clients against a real gateway on an embedded bus: WebSocket, gRPC, grpc-web and a browser's requests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod bad_input;
mod conformance;
mod docs;
mod ends;
mod grpc;
mod grpc_web;
mod harness;
#[allow(dead_code, reason = "shared with those who mean harm")]
mod http2;
mod limits;
mod page;
mod python;
mod raw;
mod resume;
mod slow;
mod tls;
mod unread;
mod websocket;
mod websocket_keys;
