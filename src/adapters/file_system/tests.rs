use super::*;

#[test]
fn creates_the_directory_and_replaces_only_a_text_that_differs() {
    let home = tempfile::tempdir().expect("a directory for a test");
    let path = home.path().join("flannel/subnet.env");
    assert_eq!(replace(&path, "A=1\n").ok(), Some(true));
    assert_eq!(replace(&path, "A=1\n").ok(), Some(false));
    assert_eq!(replace(&path, "A=2\n").ok(), Some(true));
    assert_eq!(read(&path).as_deref(), Some("A=2\n"));
    let mode = fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(
        fs::read_dir(path.parent().expect("a parent"))
            .expect("the directory")
            .count(),
        1
    );
}

#[test]
fn links_and_special_files_stay_what_they_are() {
    let home = tempfile::tempdir().expect("a directory for a test");
    let (file, link, pipe) = (
        home.path().join("file"),
        home.path().join("link"),
        home.path().join("pipe"),
    );
    fs::write(&file, "old").expect("a file");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    assert_eq!(replace(&link, "A=1\n").ok(), Some(true));
    assert!(link.is_symlink() && read(&file).as_deref() == Some("A=1\n"));

    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    assert_eq!(read(&pipe), None, "it does not wait for a writer");
    assert!(replace(&pipe, "A=1\n").is_err(), "nor for a reader");
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe)
    });
    while replace(&pipe, "A=1\n").is_err() {
        std::thread::yield_now();
    }
    assert_eq!(reader.join().expect("a reader").expect("text"), "A=1\n");
    assert!(!pipe.is_file());
}

#[test]
fn the_target_of_a_dangling_link_is_made() {
    let home = tempfile::tempdir().expect("a directory for a test");
    let (link, target) = (home.path().join("link"), home.path().join("new/file"));
    std::os::unix::fs::symlink("new/file", &link).expect("a link");
    assert_eq!(replace(&link, "A=1\n").ok(), Some(true));
    assert!(link.is_symlink() && read(&target).as_deref() == Some("A=1\n"));
}

#[test]
fn says_what_to_do_about_a_folder_in_the_place_of_a_file_and_a_file_in_that_of_a_folder() {
    let home = tempfile::tempdir().expect("a directory for a test");
    let error = replace(home.path(), "").expect_err("it is a folder");
    assert!(
        error.to_string().contains("mount the folder around it"),
        "{error}"
    );
    let file = home.path().join("file");
    fs::write(&file, "").expect("a file");
    let error = replace(&file.join("subnet.env"), "").expect_err("its folder is a file");
    assert!(
        error.to_string().contains("part of this path is a file"),
        "{error}"
    );
}

#[test]
fn distinguishes_a_missing_file_from_one_that_cannot_be_read() {
    let home = tempfile::tempdir().expect("a directory for a test");
    let path = home.path().join("state");
    assert!(matches!(try_read(&path), Ok(None)));
    fs::write(&path, b"\xff").expect("a file in a directory of ours");
    let error = try_read(&path).expect_err("it is no text");
    assert!(error.to_string().contains("valid UTF-8"), "{error}");
    assert!(try_read(home.path()).is_err(), "a directory");
}

#[test]
fn the_error_names_the_file() {
    let error =
        replace(Path::new("/proc/none/subnet.env"), "").expect_err("/proc cannot be written");
    assert!(
        error.to_string().contains("/proc/none/subnet.env"),
        "{error}"
    );
}

#[tokio::test]
async fn a_socket_replaces_an_old_one_and_is_only_for_root() {
    let home = tempfile::tempdir().expect("a directory for a test");
    let path = home.path().join("flannel/flanneld.sock");
    for _ in 0..2 {
        drop(bind_socket(&path).expect("a directory that can be written"));
        let metadata = fs::metadata(&path).expect("the socket");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn an_error_that_comes_again_has_the_same_text_and_says_what_to_do() {
    // A folder in which nobody can create a file.
    let text = || {
        let error = replace(Path::new("/proc/self/fd/new"), "text").expect_err("no file");
        crate::error::chain(&error)
    };
    assert_eq!(text(), text());
    assert!(!text().contains(".tmp"), "{}", text());
    let full = io::Error::from_raw_os_error(28);
    let full = FileError {
        path: "/run/flannel/subnet.env".into(),
        source: full,
    };
    let expected = "failed to write or remove \"/run/flannel/subnet.env\": No space left on device (os error 28); make room";
    assert!(crate::error::chain(&full).starts_with(expected), "{full}");
}
