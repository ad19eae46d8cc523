package child

import (
	"cmp"
	"flag"
	"fmt"
	"strconv"
	"time"
)

// Limits bound one build.
type Limits struct {
	// Memory in bytes that the child may have, its program and the Go runtime included. Default 256 MiB.
	Memory int64
	// CPU is the processor time that a build may take, in whole seconds. Default 30 s.
	CPU time.Duration
	// Wall is how long a build may take. Default 60 s.
	Wall time.Duration
	// Read bounds the bytes of files that one build reads, a file that is read twice counted twice. Default 64 MiB.
	Read int64
	// Objects that a build may yield. Default 10,000.
	Objects int
	// Generated bounds the bytes of those objects, as JSON. Default 16 MiB.
	Generated int64
}

// OrDefaults returns the limits with defaults in the place of zeros.
func (l Limits) OrDefaults() Limits {
	return Limits{
		Memory: cmp.Or(l.Memory, 256<<20), CPU: cmp.Or(l.CPU, 30*time.Second), Wall: cmp.Or(l.Wall, time.Minute),
		Read: cmp.Or(l.Read, 64<<20), Objects: cmp.Or(l.Objects, 10_000), Generated: cmp.Or(l.Generated, 16<<20),
	}
}

// flags are the arguments of Verb: what binds the child before it reads anything.
func (l Limits) flags() []string {
	return []string{
		"--memory=" + strconv.FormatInt(l.Memory, 10), "--cpu=" + l.CPU.String(),
		"--objects=" + strconv.Itoa(l.Objects), "--generated=" + strconv.FormatInt(l.Generated, 10),
	}
}

func parse(args []string) (Limits, error) {
	var l Limits
	f := flag.NewFlagSet(Verb, flag.ContinueOnError)
	f.Int64Var(&l.Memory, "memory", 0, "bytes")
	f.DurationVar(&l.CPU, "cpu", 0, "processor time")
	f.IntVar(&l.Objects, "objects", 0, "number of objects")
	f.Int64Var(&l.Generated, "generated", 0, "bytes")
	if err := f.Parse(args); err != nil {
		return l, fmt.Errorf("reading the limits: %w", err)
	}
	return l.OrDefaults(), nil
}
