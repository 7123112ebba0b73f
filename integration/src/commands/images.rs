//! `cargo x images`: builds the stand-in images and lists them.

use anyhow::Result;

use crate::images;

/// Builds the stand-in images below the build folder.
pub fn run() -> Result<()> {
    let layout = layout(&mut |line| eprintln!("{line}"))?;
    for name in images::names() {
        println!("{name}");
    }
    println!("images: layout={}", layout.display());
    Ok(())
}

/// The layout of stand-in images, built if need be.
pub fn layout(say: &mut dyn FnMut(&str)) -> Result<std::path::PathBuf> {
    images::build(&folder()?, say)
}

/// Folder of everything about the stand-in images.
pub fn folder() -> Result<std::path::PathBuf> {
    Ok(crate::commands::build_dir()?.join("cella-images"))
}
