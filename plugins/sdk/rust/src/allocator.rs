//! Memory for one call: handed out upwards, never taken back, since the whole instance is dropped with the call. It
//! begins with what the instance has already, and asks the host for more only when that is used up: for a small
//! plugin, never.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::Cell;

const PAGE: usize = 65_536;

struct Upwards {
    next: Cell<usize>,
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Upwards {}

#[global_allocator]
static ALLOCATOR: Upwards = Upwards { next: Cell::new(0) };

unsafe extern "C" {
    /// Where the linker's own data ends.
    static __heap_base: u8;
}

impl Upwards {
    fn take(&self, size: usize, align: usize) -> Option<usize> {
        let next = match self.next.get() {
            0 => &raw const __heap_base as usize,
            next => next,
        };
        let at = next.checked_next_multiple_of(align)?;
        let end = at.checked_add(size)?;
        let have = memory_size(0).checked_mul(PAGE)?;
        if end > have && memory_grow(0, (end - have).div_ceil(PAGE)) == usize::MAX {
            return None;
        }
        self.next.set(end);
        Some(at)
    }
}

// SAFETY: every block lies beyond all that were handed out before it and within the memory, and none is reused.
unsafe impl GlobalAlloc for Upwards {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout.size(), layout.align()) {
            Some(at) => at as *mut u8,
            None => core::ptr::null_mut(),
        }
    }

    /// Fresh memory of a fresh instance is zero.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { self.alloc(layout) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    /// The last block grows where it is.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size <= layout.size() {
            return block;
        }
        if (block as usize).checked_add(layout.size()) == Some(self.next.get()) {
            return match self.take(size - layout.size(), 1) {
                Some(_) => block,
                None => core::ptr::null_mut(),
            };
        }
        // SAFETY: `layout` was valid for the block, and only its size changes.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                core::ptr::copy_nonoverlapping(block, moved, layout.size());
            }
            moved
        }
    }
}
