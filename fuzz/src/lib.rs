//! Numbers that are the same in every run, where a target needs some.

/// Counts, and mixes what it counts.
pub struct Counting(pub u64);

impl rand_core::TryRng for Counting {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.iter_mut().try_for_each(|byte| self.try_next_u64().map(|number| *byte = (number >> 32) as u8))
    }
}

impl rand_core::TryCryptoRng for Counting {}
