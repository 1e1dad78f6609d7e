//! A bare unary call: the floor under every gRPC service.

use std::time::Duration;

use bytes::Bytes;
use tests::Process;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use pb::echo_client::EchoClient;
use pb::echo_server::{self, EchoServer};

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod pb {
    tonic::include_proto!("holdfast.bench");
}

struct Service;

#[tonic::async_trait]
impl echo_server::Echo for Service {
    async fn say(&self, words: Request<pb::Words>) -> Result<Response<pb::Words>, Status> {
        Ok(Response::new(words.into_inner()))
    }
}

/// Serves until the process is killed.
pub(crate) async fn serve(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(Server::builder().add_service(EchoServer::new(Service)).serve_with_incoming(incoming).await?)
}

/// The server, in a process of its own.
pub(crate) struct Echo {
    port: u16,
    process: Process,
}

impl Echo {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        let port = tests::free_ports(1);
        let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
        command.args(["echo-server", "--port", &port.to_string()]);
        let process = Process::start("echo", command, std::path::Path::new("/dev/null"));
        let echo = Self { port, process };
        runtime.block_on(async { drop(echo.channel().await) });
        echo
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        self.process.cpu_time()
    }

    async fn channel(&self) -> Channel {
        connected(&format!("http://127.0.0.1:{}", self.port)).await
    }

    pub(crate) async fn callers(&self, count: usize) -> Vec<Caller> {
        let mut channels = Vec::new();
        for _ in 0..connections(count) {
            channels.push(self.channel().await);
        }
        channels.iter().cycle().take(count).map(|channel| Caller(EchoClient::new(channel.clone()))).collect()
    }
}

/// Connections for so many callers: what was the best for the echo and for etcd.
pub(crate) fn connections(callers: usize) -> usize {
    let named = std::env::var("BENCH_CONNECTIONS").ok().and_then(|it| it.parse().ok());
    callers.min(named.unwrap_or(16))
}

/// Connects as soon as somebody listens there.
///
/// # Panics
/// If nobody does within a minute.
pub(crate) async fn connected(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(address.to_owned()).expect("an address").tcp_nodelay(true);
    let mut last = None;
    for _ in 0..600 {
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody listens at {address}: {last:?}");
}

/// One caller.
pub(crate) struct Caller(EchoClient<Channel>);

impl Caller {
    pub(crate) async fn say(&mut self, payload: &Bytes) -> Result<(), String> {
        let words = pb::Words { payload: payload.clone() };
        self.0.say(words).await.map(drop).map_err(|status| status.to_string())
    }
}
