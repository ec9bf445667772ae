//! What goes wrong.

use messaging::partition::{Append, Appended};
use store::simulated::Faults;

use super::log::Tried;
use super::world::{CLIENTS, Happening, NODES, REGIONS, TROUBLE, World};
use super::{Broken, Engine};

impl World {
    pub(super) fn fault(&mut self) {
        if self.now + 4_000 >= TROUBLE {
            return self.heal();
        }
        self.after(800, 3_000, Happening::Fault);
        match self.pick(5) {
            0 | 1 => self.crash(),
            2 => {
                // Somebody is taken for dead, and is not.
                let node = self.pick(NODES);
                let region = self.nodes[node].region;
                let may = self.nodes[node].alive && self.logs[region].is_open();
                if may && self.claims[region].0 != Some(node) {
                    self.take_over(node);
                }
            }
            3 if self.cut.is_none() => {
                self.cut = Some(self.pick(REGIONS));
                self.after(1_000, 9_000, Happening::Heal);
            }
            _ => (0..CLIENTS / 2).for_each(|client| self.disconnect(client)),
        }
    }

    fn crash(&mut self) {
        let node = self.pick(NODES);
        if !self.nodes[node].alive {
            return;
        }
        let was_owner = self.nodes[node].owner.is_some();
        self.end_node(node);
        if self.broken == Broken::LosesTail && was_owner {
            self.logs[self.nodes[node].region].lose_last();
        }
        self.after(500, 5_000, Happening::Restart { node });
    }

    /// A process ends, and all connections to it.
    pub(super) fn end_node(&mut self, node: usize) {
        self.tally.crashes += 1;
        let clients: Vec<usize> = self.nodes[node].streams.values().map(|stream| stream.client).collect();
        clients.into_iter().for_each(|client| self.disconnect(client));
        self.nodes[node].crash(self.now);
    }

    fn heal(&mut self) {
        self.cut = None;
        for node in 0..NODES {
            if !self.nodes[node].alive {
                self.revive(node);
            }
        }
        for region in 0..if self.engine == Engine::Segments { REGIONS } else { 0 } {
            self.failing.remove(&region);
            self.logs[region].cure();
        }
    }

    // The real log.

    /// An append reaches a log; it is answered after the next commit.
    pub(super) fn stage(&mut self, node: usize, life: u64, append: &Append, tell: bool) {
        let index = self.nodes[node].region;
        if self.logs[index].stage(append, node, life, tell) {
            self.flush_soon(index);
        } else if tell {
            let incarnation = append.records.first().map_or(0, |record| record.incarnation);
            let answer = Appended::Unknown;
            self.after(30, 60, Happening::Appended { node, life, incarnation, answer });
        }
    }

    /// The disk takes a moment, and now and then much longer.
    pub(super) fn flush_soon(&mut self, region: usize) {
        if !self.logs[region].is_waiting() || !self.flushing.insert(region) {
            return;
        }
        if !self.is_quiet() && self.random.chance(0.01) {
            self.tally.stalls += 1;
            self.after(200, 3_000, Happening::Flush { region });
        } else {
            self.after(1, 6, Happening::Flush { region });
        }
    }

    pub(super) fn flush(&mut self, region: usize) {
        self.flushing.remove(&region);
        let done = self.logs[region].commit();
        self.tally.reclaimed += done.reclaimed as u64;
        self.publish(region, &done.events);
        done.answers.into_iter().for_each(|(tried, answer)| self.tell(&tried, answer));
        match done.refused {
            None => {}
            Some(false) => self.tally.refusals += 1,
            Some(true) => {
                self.tally.stops += 1;
                if self.failing.remove(&region) {
                    self.power_cut(region);
                } else {
                    // The process ends; the machine goes on.
                    self.after(200, 1_500, Happening::Open { region });
                }
            }
        }
    }

    fn tell(&mut self, tried: &Tried, answer: Appended) {
        let Tried { node, life, incarnation, tell, .. } = *tried;
        if tell {
            self.after(1, 8, Happening::Appended { node, life, incarnation, answer });
        }
    }

    /// The process of a log begins.
    pub(super) fn open(&mut self, region: usize) {
        match self.logs[region].open() {
            Ok(opened) => {
                self.tally.recoveries += 1;
                self.tally.torn += u64::from(opened.torn > 0);
            }
            Err(wrong) => self.failed = Some(wrong),
        }
    }

    /// Both nodes and the log of a region end, and the disk keeps what it likes of what was not synced.
    fn power_cut(&mut self, region: usize) {
        self.failing.remove(&region);
        self.tally.power_cuts += 1;
        let seed = self.random.number();
        self.logs[region].end(Some(seed));
        (2 * region..2 * region + 2)
            .filter(|node| self.nodes[*node].alive)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|node| {
                self.end_node(node);
                self.after(500, 4_000, Happening::Restart { node });
            });
        self.after(200, 1_500, Happening::Open { region });
    }

    pub(super) fn disk_fault(&mut self) {
        if self.now + 4_000 >= TROUBLE {
            return;
        }
        self.after(800, 2_500, Happening::DiskFault);
        let region = self.pick(REGIONS);
        if !self.logs[region].is_open() {
            return;
        }
        match self.pick(6) {
            0 => self.power_cut(region),
            1 | 2 => {
                self.failing.insert(region);
                self.logs[region].fail(Faults { power_goes: true, ..Faults::default() });
            }
            3 => {
                self.logs[region].fail(Faults { syncs_fail: true, ..Faults::default() });
            }
            4 => {
                let room = self.pick(400);
                let capacity = Some(self.logs[region].used() + room);
                self.logs[region].fail(Faults { capacity, ..Faults::default() });
                self.after(200, 2_000, Happening::Cure { region });
            }
            _ => {
                // The process alone ends.
                let tried = self.logs[region].end(None);
                tried.iter().for_each(|tried| self.tell(tried, Appended::Unknown));
                self.after(200, 1_500, Happening::Open { region });
            }
        }
    }

    pub(super) fn cure(&mut self, region: usize) {
        if !self.failing.contains(&region) {
            self.logs[region].cure();
        }
    }

    /// The owner's state is saved, if all of it is committed, and what all checkpoints cover is trimmed a while later.
    pub(super) fn checkpoint(&mut self, region: usize) {
        if self.is_quiet() {
            return;
        }
        self.after(800, 2_500, Happening::Checkpoint { region });
        let owner = self.claims[region].0.and_then(|node| self.nodes[node].owner.as_ref());
        let saved = owner.and_then(|owner| Some((owner.state().head.n, owner.checkpoint()?)));
        if let Some((n, state)) = saved
            && self.logs[region].checkpoint(n, &state)
        {
            self.tally.checkpoints += 1;
            self.flush_soon(region);
        }
        let first = self.unwanted(region);
        self.at(self.now + 2_000, Happening::Trim { region, first });
    }

    /// Below this number every region's checkpoint covers the log of this one; some are kept for who is a little behind.
    fn unwanted(&self, index: usize) -> u64 {
        const KEPT: u64 = 8;
        let reach = |log: &super::log::RegionLog| {
            let state = log.covered()?;
            let channel = state.channels.get(&super::world::room())?;
            Some(channel.causal().applied().place(super::world::region(index))?.n)
        };
        let least = self.logs.iter().map(|log| reach(log).unwrap_or(0)).min().unwrap_or(0);
        least.saturating_sub(KEPT)
    }
}
