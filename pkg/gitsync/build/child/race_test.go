//go:build race

package child_test

const underRace = true
