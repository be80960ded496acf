//! Memory between steps.

/// Keeps freed memory in the process, so that the next step finds its buffers mapped.
///
/// glibc gives large blocks back to the system when they are freed; touching them anew in every
/// step costs a fifth of the time of a training step. Call once, at the start of a program. Does
/// nothing with other allocators.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The largest that glibc accepts: larger blocks are mapped one by one.
        const MMAP_THRESHOLD: i32 = 32 << 20;
        // SAFETY: mallopt sets numbers of the allocator and may be called at any time.
        #[allow(unsafe_code, reason = "a C function")]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TOP_PAD, 64 << 20);
            // Each step may run on another thread; what one has freed is there for all.
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// Asks the system for large pages behind a large slice: with small ones, finding the place of an address takes
/// as long as some of the arithmetic. Does nothing where the system has no such call.
pub(crate) fn prefer_large_pages(values: &[f32]) {
    #[cfg(target_os = "linux")]
    {
        /// The size of a large page; smaller slices hold none.
        const LARGE_PAGE: usize = 2 << 20;
        const PAGE: usize = 4 << 10;
        if size_of_val(values) < LARGE_PAGE {
            return;
        }
        let skipped = values.as_ptr().cast::<u8>().align_offset(PAGE);
        let len = (size_of_val(values) - skipped) / PAGE * PAGE;
        // SAFETY: these whole pages lie within the slice, and the call changes nothing that they hold. It may
        // fail, and then nothing is gained.
        #[allow(unsafe_code, reason = "a C function")]
        unsafe {
            libc::madvise(values.as_ptr().cast_mut().byte_add(skipped).cast(), len, libc::MADV_HUGEPAGE);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn allocation_goes_on_working() {
        super::keep_freed_memory();
        let block = vec![1u8; 40 << 20];
        super::prefer_large_pages(&vec![1.0; 3 << 20]);
        assert_eq!(block.iter().map(|b| u64::from(*b)).sum::<u64>(), 40 << 20);
    }
}
