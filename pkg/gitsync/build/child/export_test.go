package child

// Confine binds this process as a build's, but for its memory: the race detector needs more.
func Confine() {
	if err := confine(Limits{Memory: 1 << 40}.OrDefaults()); err != nil {
		panic(err)
	}
}
