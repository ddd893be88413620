//! For the benchmark: how soon a replacement votes, whoever is lost, beside the same by hand.

use std::time::Instant;

use crate::report::rounded;
use crate::story::Story;
use crate::support::etcd;
use crate::support::node::Node;
use crate::support::rig::{addresses, environment_by_hand};

impl Story<'_> {
    /// One of a cluster made by hand dies, and a person replaces it who knows which, and waits for nothing.
    pub async fn replace_by_hand(&mut self, mut nodes: Vec<Node>) -> Result<Vec<Node>, String> {
        self.settle().await;
        self.stage.scene("The floor: one of them is replaced by hand");
        let old = nodes.remove(0);
        self.rig.terminate(&old).await;
        let fresh = self.launch("by-hand", 1)?;
        let mut client =
            self.rig.judge.client(&addresses(&nodes)).await.map_err(|error| format!("connect: {error}"))?;
        let list = self.rig.judge.members(nodes[0].address).await.ok_or("the first node tells no members")?;
        let gone = list.member(&old.instance).ok_or("the dead one is no member")?.id;
        let address = fresh[0].address;
        nodes.extend(fresh);
        let environment = environment_by_hand(&nodes[nodes.len() - 1], &nodes).replace("STATE=new", "STATE=existing");
        let began = Instant::now();
        etcd::remove(&mut client, gone, self.options.patience).await?;
        let urls = [format!("http://{address}:2380")];
        client.member_add(urls, None).await.map_err(|error| format!("add {address}: {error}"))?;
        nodes[nodes.len() - 1].boot_by_hand(&environment);
        let replaced = self.rig.judge.all_healthy(&[address], self.options.patience).await? - began;
        self.stage.done("replaced", replaced);
        self.report.floor_replaced_seconds = Some(rounded(replaced));
        Ok(nodes)
    }

    /// The harder losses, one after another.
    pub async fn lose_and_replace(&mut self) -> Result<(), String> {
        let leader = self.rig.judge.leader(&addresses(&self.nodes)).await.ok_or("there is no leader")?;
        let leads = |node: &Node| node.address == leader;
        let which = self.nodes.iter().position(leads).ok_or("the leader is none of the nodes")?;
        self.report.leader_votes_seconds = Some(self.lose("The leader is lost", vec![which], false).await?);
        self.report.forgotten_votes_seconds =
            Some(self.lose("One is lost that EC2 has forgotten by then", vec![0], true).await?);
        if self.nodes.len() >= 5 {
            self.report.two_vote_seconds = Some(self.lose("Two are lost at once", vec![0, 1], false).await?);
        }
        Ok(())
    }

    async fn lose(&mut self, what: &str, which: Vec<usize>, forgotten: bool) -> Result<f64, String> {
        self.settle().await;
        self.stage.scene(what);
        let lost: Vec<Node> = which.into_iter().rev().map(|which| self.nodes.remove(which)).collect();
        for node in &lost {
            self.rig.terminate(node).await;
            if forgotten {
                self.rig.cloud.change(|world| world.forget(&node.instance));
            }
        }
        // Where the leader died, etcd elects another by itself: that is not measured.
        let left = addresses(&self.nodes);
        let led = async || self.rig.judge.leader(&left).await.map(drop).ok_or_else(|| "there is no leader".to_owned());
        etcd::until(self.options.patience, led).await?;
        let (votes, _) = self.boot_instead(lost.len()).await?;
        self.stage.done("votes", votes);
        self.take_stock().await?;
        Ok(rounded(votes))
    }
}
