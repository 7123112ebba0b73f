//! What tests of the engine share: numbers, and an installation.

use crate::engine::decide::Installation;

/// Numbers that look random and are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// True once in `chance` times.
    pub fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// An installation without images of its own.
pub fn installation() -> Installation {
    Installation {
        entrypoint_image: String::new(),
        nop_image: "nop".into(),
        shell_image: String::new(),
        shell_image_win: String::new(),
        workingdirinit_image: String::new(),
        sidecarlogresults_image: String::new(),
        release: String::new(),
        kubernetes_minor: 33,
        resolvers: false,
    }
}
