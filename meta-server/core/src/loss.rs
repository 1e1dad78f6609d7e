//! Giving up the members of a partition (§4.8): an admin's explicit command, never the guardian's.

use words::{Configuration, Gpid, NodeId, Time};

use crate::guardian::{Action, NodeView, Replica, Standing, View, decide};
use crate::operator::{Checked, check_fit, forbidden, refusal};
use crate::{AdminToken, Command, MetaCore, MetaOutput, RefusalKind};

impl MetaCore {
    /// Has a checked loss made durable; the admin is answered then.
    pub(crate) fn accept_loss(
        &mut self,
        gpid: Gpid,
        configuration: Configuration,
        cause: String,
        token: AdminToken,
        out: &mut MetaOutput,
    ) {
        let mut partition = self.partitions.remove(&gpid).expect("it was just looked at");
        partition.plan.clear();
        self.begin_change(gpid, &mut partition, &configuration);
        self.partitions.insert(gpid, partition);
        self.commit(Command::AcceptLoss { gpid, configuration, cause }, Some(token), out);
    }

    /// What a declared loss makes of the partition, and why; refused as long as anything better can be hoped for.
    pub(crate) fn check_loss(
        &self,
        now: Time,
        gpid: Gpid,
        node: &str,
        others_are_stopped: bool,
    ) -> Checked<(Configuration, String)> {
        let (_, view) = self.partition_view(now, gpid)?;
        let target = self.resolve(node, &view)?;
        if view.configuration.is_empty() {
            return Err(forbidden(format!("{gpid} never had a member, so nothing is lost")));
        }
        check_nobody_better(&view, target)?;
        check_fit(target)?;
        check_has_data(target)?;
        let node = target.node;
        let others: Vec<String> = others(&view, node).map(|other| other.to_string()).collect();
        if !others_are_stopped && !others.is_empty() {
            return Err(refusal(
                RefusalKind::InvalidArgument,
                format!(
                    "what only {} had is lost for good by this; if one of them, or any other node that had the \
                     partition, is merely cut off, it may go on serving what it has: stop it, then state that \
                     (`--the-others-are-stopped`)",
                    others.join(", ")
                ),
            ));
        }
        let cause =
            format!("an admin gave up the members {}; {node} leads with what it has", view.configuration);
        Ok((view.configuration.after_loss(node), cause))
    }
}

/// Who has to be stopped: the other members, and whoever is not heard and had a replica. One of these may take itself
/// for the primary of an older configuration, and one of those, once restarted, would acknowledge what it writes.
fn others(view: &View<'_>, leads: NodeId) -> impl Iterator<Item = NodeId> {
    let had_it = |node: &&NodeView| {
        let unheard = matches!(node.standing, Standing::Dead(_)) && !node.replaced;
        view.configuration.is_member(node.node) || (unheard && matches!(node.replica, Replica::Held { .. }))
    };
    view.nodes.iter().filter(had_it).map(|node| node.node).filter(move |&node| node != leads)
}

/// Whoever may have all that was acknowledged is waited for.
fn check_nobody_better(view: &View<'_>, target: &NodeView) -> Checked<()> {
    if let Action::Set(next) = decide(view).action {
        return Err(forbidden(format!("nothing is lost: the configuration {next} is chosen just now")));
    }
    let members = view.configuration.members().filter_map(|node| view.node(node));
    for member in members {
        let hoped_for = !matches!(member.standing, Standing::Dead(_)) && member.why_lost().is_none();
        if hoped_for && member.node == target.node {
            return Err(forbidden(format!("nothing is lost: {} is a member and there", member.node)));
        }
        if hoped_for {
            return Err(forbidden(format!(
                "{} may have all that was acknowledged, and is not dead; wait for it, or stop it",
                member.node
            )));
        }
    }
    Ok(())
}

/// Whether a declared loss may make this node the only member.
pub(crate) fn can_go_on(target: &NodeView) -> bool {
    check_fit(target).is_ok() && check_has_data(target).is_ok()
}

/// Nothing is ever created empty in place of what was lost.
fn check_has_data(target: &NodeView) -> Checked<()> {
    match target.replica {
        Replica::Held { last_prepared, .. } if last_prepared > words::Decree::ZERO => Ok(()),
        Replica::Unknown => {
            Err(forbidden(format!("{} has not said yet what it has; try again", target.node)))
        }
        _ => Err(forbidden(format!(
            "{} has nothing of the partition; name a node that has (`admin ddd` lists the copies)",
            target.node
        ))),
    }
}
