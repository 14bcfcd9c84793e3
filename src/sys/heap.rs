//! The heap of the service: the system's, but memory is overwritten before it is given back. A body with a password in
//! it passes through buffers of the gate, of tiny_http and of serde_json, which wipe nothing themselves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// See the module. SQLite has the C library's heap and does not go through this.
pub struct Wiping;

// SAFETY: every block comes from `System` with the layout that was asked for and goes back to it with the same one;
// what is written in between is inside the block, by the caller's contract.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` is a live block of this layout, which nobody else uses any more.
        unsafe {
            at.write_bytes(0, layout.size());
            // Without a reader the compiler may leave out the overwriting of memory that is about to be freed.
            System.dealloc(black_box(at), layout);
        }
    }

    // Growing and shrinking are the trait's own: a new block, a copy, and `dealloc`. The C library's realloc would
    // leave the old block behind as it is.
}

/// Keeps glibc from giving each thread a heap of its own: with dozens of short threads they hold three times what is in
/// use, and grow for hours. Nothing here allocates so much that threads would wait for each other. musl has one heap anyway.
pub fn share_one() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes plain numbers; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_moves_keeps_what_it_holds() {
        let layout = Layout::from_size_align(64, 8).unwrap();
        // SAFETY: the block is used within its size and freed once, with the layout that it has by then.
        unsafe {
            let block = Wiping.alloc(layout);
            block.write_bytes(7, 64);
            let grown = Wiping.realloc(block, layout, 128);
            assert!(std::slice::from_raw_parts(grown, 64).iter().all(|it| *it == 7));
            Wiping.dealloc(grown, Layout::from_size_align(128, 8).unwrap());
        }
    }
}
