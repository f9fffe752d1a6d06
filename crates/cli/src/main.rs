//! The `pullpass` command; all of it is in the library.

fn main() -> std::process::ExitCode {
    pullpass::main()
}
