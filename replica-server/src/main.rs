//! The replica server with the apps that ship.

use std::process::ExitCode;

use replicated_app::Registry;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let registry = Registry::new();
    #[cfg(feature = "shipped-apps")]
    let registry = registry
        .with(counter::CounterType)
        .with(kv::KvType::default())
        .with(card::CardType)
        .with(echo::EchoType)
        .with(election::ElectionType);
    replica_server::main(registry)
}
