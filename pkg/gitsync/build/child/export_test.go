package child

// Confine binds this process as a build's.
func Confine() {
	if err := confine(Limits{}.OrDefaults()); err != nil {
		panic(err)
	}
}
