//! What an operator wants of one partition, as goals that are reached one after the other.

use std::fmt;

use words::{Command as Order, NodeId};

use crate::guardian::View;

/// One thing that an operator wants to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The node is a member.
    Member(NodeId),
    /// The node is the primary.
    Primary(NodeId),
    /// The node is no member and does not learn.
    Gone(NodeId),
}

/// How a goal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is so.
    Reached,
    /// Not yet.
    Open,
    /// It can't be reached any more: forget it and decide anew.
    Lost,
}

impl Goal {
    /// What the primary is asked for.
    pub(crate) fn order(self) -> Order {
        match self {
            Self::Member(node) => Order::AddSecondary(node),
            Self::Primary(node) => Order::HandOver(node),
            Self::Gone(node) => Order::Remove(node),
        }
    }

    /// How it stands.
    pub(crate) fn progress(self, view: &View<'_>) -> Progress {
        let configuration = view.configuration;
        let (reached, possible) = match self {
            Self::Member(node) => (
                configuration.is_member(node),
                view.node(node).is_some_and(crate::guardian::NodeView::can_join),
            ),
            Self::Primary(node) => (
                configuration.primary == Some(node),
                configuration.is_member(node)
                    && view.node(node).is_some_and(crate::guardian::NodeView::is_fit),
            ),
            Self::Gone(node) => (
                !configuration.is_member(node) && !view.learners.contains(&node),
                configuration.primary != Some(node),
            ),
        };
        match (reached, possible) {
            (true, _) => Progress::Reached,
            (false, true) => Progress::Open,
            (false, false) => Progress::Lost,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(node) => write!(f, "{node} to be a member"),
            Self::Primary(node) => write!(f, "{node} to be primary"),
            Self::Gone(node) => write!(f, "{node} to be no member"),
        }
    }
}
