//! Reads of what one replica has, whatever its role.

use std::time::Duration;

use bytes::Bytes;
use proto::pb;
use proto::pb::replica_client::ReplicaClient;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use words::{Gpid, Reply};

use crate::link::REPLY_FRAME_BYTES;
use crate::meta::root_cause;
use crate::{Failure, Outcome};

/// Asks the node at `address` once.
pub(crate) async fn read(address: &str, gpid: Gpid, request: Bytes, patience: Duration) -> Outcome<Bytes> {
    let failed = |last: String| Outcome::Failed(Failure::Deadline { timeout: patience, last });
    match timeout(patience, ask(address, gpid, request)).await {
        Ok(Ok(Reply::Done { decree, answer: Ok(answer) })) => Outcome::Done { decree, answer },
        Ok(Ok(Reply::Done { answer: Err(rejection), .. })) => Outcome::Failed(Failure::Rejected(rejection)),
        Ok(Ok(Reply::Refused(refusal))) => Outcome::Failed(Failure::Refused(refusal)),
        Ok(Ok(Reply::Unknown)) => failed(format!("{address}: the app could not say")),
        Ok(Err(why)) => failed(format!("{address}: {why}")),
        Err(_) => failed(format!("{address}: does not answer")),
    }
}

async fn ask(address: &str, gpid: Gpid, request: Bytes) -> Result<Reply, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| format!("`{address}` is no address"))?;
    let channel = endpoint.connect().await.map_err(|error| root_cause(&error))?;
    let mut client = ReplicaClient::new(channel).max_decoding_message_size(REPLY_FRAME_BYTES);
    let message = pb::ReadRequest { gpid: Some(gpid.into()), payload: request };
    let reply = client.read_local(message).await.map_err(|status| root_cause(&status))?.into_inner();
    <(u64, Reply)>::try_from(reply).map(|(_, reply)| reply).map_err(|malformed| malformed.to_string())
}
