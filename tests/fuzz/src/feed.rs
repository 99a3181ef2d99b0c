//! Arbitrary bytes as choices; an empty feed goes on with zeros.

/// What is left of an input.
pub struct Feed<'a>(pub &'a [u8]);

impl<'a> Feed<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let number = if bound > 256 { u64::from(self.short()) } else { u64::from(self.byte()) };
        number.checked_rem(bound).unwrap_or(0)
    }

    /// That many bytes, fewer where there are fewer.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, left) = self.0.split_at(most.min(self.0.len()));
        self.0 = left;
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
