//! Where a segment is cut so that nothing at or above an offset is left: at the first batch that
//! reaches it, for a batch is never cut in two. Called by the log, which has the batches checked
//! on the way and does the cutting.

use super::scan::{Walk, WalkStep};
use super::shared::Segment;
use crate::error::Result;
use crate::ids::Offset;

/// Where whole batches end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutPoint {
    /// Bytes that stay.
    pub(crate) position: u64,
    /// The offset after the last record that stays; `None` where none of the segment's does.
    pub(crate) end: Option<Offset>,
}

impl Segment {
    /// Where the batches end that lie below `target` whole.
    pub(crate) fn cut_point(&self, target: Offset) -> Result<CutPoint> {
        let found = self.walk_to(self.position_before(target)?, target)?;
        if found.end.is_some() || found.position == 0 {
            return Ok(found);
        }
        // the index led to the batch that goes itself: what lies before it says where it ends
        let reached = self.walk_to(0, target)?;
        debug_assert_eq!(reached.position, found.position, "one walk ends where the other does");
        Ok(reached)
    }

    fn walk_to(&self, position: u64, target: Offset) -> Result<CutPoint> {
        let file = self.log()?;
        let mut walk = Walk::new(&**file, position, self.published());
        let mut end = None;
        loop {
            let at = walk.position();
            match walk.step()? {
                WalkStep::Batch(_, batch) if batch.header().last_offset() < target => {
                    end = Some(batch.header().end_offset());
                }
                WalkStep::Batch(..) | WalkStep::End => return Ok(CutPoint { position: at, end }),
                WalkStep::Bad(position, fault) => {
                    return Err(fault.into_error("truncate", &self.path(), position, end));
                }
            }
        }
    }
}
