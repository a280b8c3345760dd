//! Telling where this process serves, on standard output.

use std::net::SocketAddr;

/// How addresses are told.
#[derive(Clone, Debug)]
pub(crate) enum Addresses {
    /// One `name=address` a line, for programs.
    Lines,
    /// A few words for a person at a terminal.
    Words,
}

impl Addresses {
    /// Lines when `print_addresses` was asked for.
    pub(crate) fn new(print_addresses: bool) -> Self {
        if print_addresses { Self::Lines } else { Self::Words }
    }

    /// Tells that `name` is served at `address`.
    pub(crate) fn tell(&self, name: &str, address: SocketAddr) {
        match self {
            Self::Lines => println!("{name}={address}"),
            Self::Words => println!("{}", words(name, address)),
        }
    }

    /// Says something about the data; programs are told by the page and the API.
    pub(crate) fn note(&self, text: &str) {
        if matches!(self, Self::Words) {
            println!("{text}");
        }
    }
}

fn words(name: &str, address: SocketAddr) -> String {
    match name {
        "gateway" => format!(
            "page, WebSocket, gRPC   http://{address}/   ws://{address}/ws   grpcurl -plaintext {address} list"
        ),
        "grpc" => format!("query API (gRPC)        grpcurl -plaintext {address} list"),
        "ops" => format!("operations              http://{address}/metrics   /health   /ready"),
        "feed" => format!("feed and REST           ws://{address}/   http://{address}/products"),
        _ => format!("{name} {address}"),
    }
}
