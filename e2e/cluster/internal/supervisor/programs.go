package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/sandbox"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// placePrograms makes the directory of every program visible in wire.ImagesDir, where no volume of a pod hides it, and
// has containers start it there: a program finds the files beside it. A link to each program in wire.ProgramsDir makes
// "./podinfo" and "podcli check" work as they do in the image.
func (s *Supervisor) placePrograms() error {
	if err := os.MkdirAll(wire.ProgramsDir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", wire.ProgramsDir, err)
	}
	places := map[string]string{}
	for _, image := range slices.Sorted(maps.Keys(s.cfg.Programs)) {
		p := s.cfg.Programs[image]
		if !filepath.IsAbs(p.Path) {
			continue // no process, or one that the PATH finds
		}
		from := filepath.Dir(p.Path)
		place, known := places[from]
		if !known {
			place = filepath.Join(wire.ImagesDir, strconv.Itoa(len(places)))
			if err := sandbox.BindDir(from, place); err != nil {
				return fmt.Errorf("the program of %s: %w", image, err)
			}
			places[from] = place
		}
		p.Path = filepath.Join(place, filepath.Base(p.Path))
		s.cfg.Programs[image] = p
		if err := linkPrograms(p.Path, filepath.Join(place, "podcli")); err != nil {
			return err
		}
	}
	return nil
}

// linkPrograms links those that exist.
func linkPrograms(paths ...string) error {
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := os.Symlink(path, filepath.Join(wire.ProgramsDir, filepath.Base(path))); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("linking %s: %w", path, err)
		}
	}
	return nil
}
