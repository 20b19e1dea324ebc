//! Compile errors of runs with parts that do not fit together.

#[test]
fn mistakes_that_do_not_compile_have_readable_messages() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
