package version

// CheckNewVersion does nothing in this build.
func CheckNewVersion() {}
