//! The texts of allocations that failed.

/// The words of allocators, each between spaces: libtorch on CPU and devices, CUDA and its libraries, Vulkan,
/// the backends of Burn, the operating system.
const WORDS: [&str; 10] = [
    " out of memory ",
    " out of device memory ",
    " out of host memory ",
    " outofmemory ",
    " alloc failed ",
    " can t allocate memory ",
    " can t allocate buffer ",
    " cannot allocate memory ",
    " memory allocator returned an error ",
    " not enough memory you tried to allocate ",
];

/// Whether `text` says that an allocation failed.
pub(super) fn tells(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: String = words.flat_map(|word| [" ", word]).chain([" "]).collect::<String>().to_lowercase();
    WORDS.iter().any(|known| words.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_allocators_are_known_and_similar_ones_are_not() {
        let check = |expected: bool, text: &str| assert_eq!(tells(text), expected, "{text}");
        check(true, "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 15.78 GiB total capacity)");
        check(true, "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported");
        check(true, "MPS backend out of memory (MPS allocated: 18.00 GB)");
        check(
            true,
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you \
             tried to allocate 140737488355328 bytes. Error code 12 (Cannot allocate memory)",
        );
        check(true, "DefaultCPUAllocator: not enough memory: you tried to allocate 140737488355328 bytes.");
        check(true, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`");
        check(true, "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        check(true, "VK_ERROR_OUT_OF_DEVICE_MEMORY");
        check(true, "An out-of-memory error happened during launch");
        check(true, "out of device memory allocating 1024 bytes");
        check(true, "called `Result::unwrap()` on an `Err` value: OutOfMemory { size: 1024 }");
        check(true, "can't allocate buffer of size: 1024");
        let denied = Vec::<u8>::new().try_reserve_exact(isize::MAX as usize).unwrap_err();
        check(true, &denied.to_string());
        if cfg!(unix) {
            check(true, &std::io::Error::from_raw_os_error(12).to_string());
        }
        check(true, &std::io::Error::from(std::io::ErrorKind::OutOfMemory).to_string());
        check(false, "time-out of the memory server");
        check(false, "timeout of memory server");
        check(false, "no memory of the last batch");
        check(false, "no space left on device (os error 28)");
        check(false, "");
    }
}
