//! NCCL on a machine without a device of that number.

use std::sync::Arc;

use regimen_dist::{Nccl, Solo};

#[test]
fn a_device_that_is_missing_is_an_error_that_says_so() {
    let error = Nccl::over(Arc::new(Solo), 4711).unwrap_err().to_string();
    let without_driver = "rank 0: the library of the NVIDIA driver, `libcuda.so.1`, is not found: install the driver, or \
                          train without `Nccl`";
    if error != without_driver {
        let begin = "rank 0: there is no CUDA device 4711: ";
        let end = " are visible, counted from 0; start at most as many ranks per machine, and see \
                   `CUDA_VISIBLE_DEVICES`";
        assert!(error.starts_with(begin) && error.ends_with(end), "{error}");
    }
}
