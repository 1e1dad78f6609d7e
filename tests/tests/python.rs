//! The whole administration from another language, with nothing of ours but the .proto files.

use std::process::Command;

use serde_json::Value;
use tests::{Cluster, python, python_programs, run};

#[test]
fn a_python_program_drives_the_whole_administration() {
    let Some(interpreter) = python("python::a_python_program_drives_the_whole_administration") else {
        return;
    };
    let cluster = Cluster::start();
    let meta = cluster.overrides().iter().find_map(|setting| setting.strip_prefix("apps.meta.ports="));
    let meta = meta.and_then(|ports| ports.split(',').next()).expect("a port that the cluster was given");
    let nodes: Value = serde_json::from_str(&cluster.admin(&["nodes", "--json"]).stdout).expect("the nodes");
    let replicas =
        nodes.as_array().expect("a list").iter().map(|node| node["address"].as_str().expect("an address"));

    let mut command = Command::new(interpreter);
    command.current_dir(cluster.folder()).arg(python_programs().join("administer.py"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/proto")).arg("generated");
    command.arg(format!("127.0.0.1:{meta}")).arg("--").args(replicas);
    let answer = run(command);
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
    println!("{}", answer.stdout.trim());
    assert_eq!(cluster.add("apples", 1), 1, "nothing else changed");
}
