//! Generates the wire's types and services, and the descriptors that gRPC reflection serves. protox compiles
//! the `.proto` files, so that no `protoc` has to be installed.

use std::error::Error;
use std::path::Path;

use prost::Message;

const FILES: [&str; 6] =
    ["words.proto", "client.proto", "peer.proto", "meta.proto", "raft.proto", "admin.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Payloads stay shared buffers from the socket to the app.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
