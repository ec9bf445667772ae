//! The template dependency structure: decode targets, chains, and the templates of frames.

use crate::bits::Reader;

/// Templates of a structure, at most: six bits name one.
const MAX_TEMPLATES: usize = 64;
/// Spatial layers, at most (AV1 has three bits for the layer, libwebrtc four layers).
const MAX_SPATIAL: u8 = 4;
/// Temporal layers, at most: AV1 has three bits for the layer.
const MAX_TEMPORAL: u8 = 8;
/// Frames that one frame refers to, at most: AV1 has seven references, VP9 three; more are malformed.
const MAX_DIFFERENCES: usize = 8;
/// Chains and decode targets, at most: five bits count them.
const MAX_TARGETS: usize = 32;

/// How a frame belongs to a decode target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indication {
    /// It does not.
    NotPresent,
    /// It does, and no other frame of the target needs it.
    Discardable,
    /// Who can decode it can decode all of the target that follows.
    Switch,
    /// Other frames of the target may need it.
    Required,
}

/// Distances to the frames that a frame refers to, in frame numbers: 1..=4096 each, at most eight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Differences {
    list: [u16; MAX_DIFFERENCES],
    len: u8,
}

impl Differences {
    /// `None`: full.
    pub(super) fn push(&mut self, difference: u16) -> Option<()> {
        *self.list.get_mut(usize::from(self.len))? = difference;
        self.len += 1;
        Some(())
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u16] {
        &self.list[..usize::from(self.len)]
    }
}

/// A kind of frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Template {
    /// Spatial layer, 0..=3.
    pub spatial: u8,
    /// Temporal layer, 0..=7.
    pub temporal: u8,
    /// Two bits for each decode target, the first lowest.
    pub(super) indications: u64,
    /// What it refers to.
    pub differences: Differences,
    /// For each chain of the structure the distance to the chain's previous frame, 0: the chain begins.
    pub chains: [u8; MAX_TARGETS],
}

impl Template {
    /// How it belongs to a decode target.
    pub fn indication(&self, target: u8) -> Indication {
        match self.indications.checked_shr(2 * u32::from(target)).unwrap_or(0) & 3 {
            1 => Indication::Discardable,
            2 => Indication::Switch,
            3 => Indication::Required,
            _ => Indication::NotPresent,
        }
    }

    /// It belongs to a decode target.
    pub fn is_in(&self, target: u8) -> bool {
        self.indication(target) != Indication::NotPresent
    }
}

/// A template dependency structure. At most 32 decode targets and chains, 64 templates, 4 spatial and 8 temporal layers,
/// 8 references of a frame; a structure beyond that is malformed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Structure {
    /// Id of the first template.
    pub offset: u8,
    /// Decode targets, 1..=32.
    pub targets: u8,
    /// Chains, 0..=32.
    pub chains: u8,
    /// Spatial layers, 1..=4.
    pub spatial_layers: u8,
    /// Highest spatial and temporal layer of each decode target.
    pub layers: Vec<(u8, u8)>,
    /// For each decode target all those that who receives it can decode as well, itself included: bit n for target n.
    pub within: Vec<u32>,
    /// For each decode target the chain that protects it; empty when there are no chains.
    pub protected_by: Vec<u8>,
    /// Width and height of each spatial layer in pixels, lowest first; empty when not said.
    pub resolutions: Vec<(u32, u32)>,
    templates: Vec<Template>,
}

impl Structure {
    /// The template that a frame's id names.
    pub fn template(&self, id: u8) -> Option<&Template> {
        self.templates.get(usize::from(id.wrapping_sub(self.offset) & 0x3F))
    }

    /// All decode targets: bit n for target n.
    pub fn all(&self) -> u32 {
        u32::MAX >> (32 - u32::from(self.targets.clamp(1, 32)))
    }

    /// Temporal layers, 1..=8.
    pub fn temporal_layers(&self) -> u8 {
        self.templates.iter().map(|template| template.temporal).max().unwrap_or(0) + 1
    }

    pub(super) fn parse(bits: &mut Reader<'_>) -> Option<Self> {
        let offset = bits.take(6)? as u8;
        let targets = bits.take(5)? as u8 + 1;
        let mut templates = parse_layers(bits)?;
        for template in &mut templates {
            template.indications = parse_indications(bits, targets)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                template.differences.push(bits.take(4)? as u16 + 1)?;
            }
        }
        let (chains, protected_by) = parse_chains(bits, targets, &mut templates)?;
        let spatial_layers = templates.iter().map(|template| template.spatial).max()? + 1;
        let resolutions = if bits.flag()? { parse_resolutions(bits, spatial_layers)? } else { Vec::new() };
        let layers = (0..targets).map(|target| layers_of(&templates, target)).collect();
        let within = (0..targets).map(|target| targets_within(&templates, targets, target)).collect();
        Some(Self {
            offset,
            targets,
            chains,
            spatial_layers,
            layers,
            within,
            protected_by,
            resolutions,
            templates,
        })
    }
}

/// `template_layers()`.
fn parse_layers(bits: &mut Reader<'_>) -> Option<Vec<Template>> {
    let (mut spatial, mut temporal) = (0, 0);
    let mut templates = Vec::new();
    loop {
        let (indications, differences) = (0, Differences::default());
        templates.push(Template { spatial, temporal, indications, differences, chains: [0; MAX_TARGETS] });
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (temporal, spatial) = (0, spatial + 1),
            _ => return Some(templates),
        }
        if spatial >= MAX_SPATIAL || temporal >= MAX_TEMPORAL || templates.len() >= MAX_TEMPLATES {
            return None;
        }
    }
}

pub(super) fn parse_indications(bits: &mut Reader<'_>, targets: u8) -> Option<u64> {
    let mut indications = 0;
    for target in 0..targets {
        indications |= u64::from(bits.take(2)?) << (2 * target);
    }
    Some(indications)
}

/// `template_chains()`: how many chains, and which protects each decode target.
fn parse_chains(bits: &mut Reader<'_>, targets: u8, templates: &mut [Template]) -> Option<(u8, Vec<u8>)> {
    let chains = bits.below(u32::from(targets) + 1)? as u8;
    if chains == 0 {
        return Some((0, Vec::new()));
    }
    let mut protected_by = Vec::with_capacity(usize::from(targets));
    for _ in 0..targets {
        protected_by.push(bits.below(u32::from(chains))? as u8);
    }
    for template in templates {
        for chain in &mut template.chains[..usize::from(chains)] {
            *chain = bits.take(4)? as u8;
        }
    }
    Some((chains, protected_by))
}

fn parse_resolutions(bits: &mut Reader<'_>, spatial_layers: u8) -> Option<Vec<(u32, u32)>> {
    (0..spatial_layers).map(|_| Some((bits.take(16)? + 1, bits.take(16)? + 1))).collect()
}

fn layers_of(templates: &[Template], target: u8) -> (u8, u8) {
    let of = templates.iter().filter(|template| template.is_in(target));
    of.fold((0, 0), |(s, t), template| (s.max(template.spatial), t.max(template.temporal)))
}

fn targets_within(templates: &[Template], targets: u8, whole: u8) -> u32 {
    let within = |part: u8| templates.iter().all(|template| !template.is_in(part) || template.is_in(whole));
    (0..targets).filter(|part| within(*part)).fold(0, |all, part| all | 1 << part)
}
