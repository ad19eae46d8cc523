package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Everything below kustomize/ that people build, builds; a component is built by those who use it.
func TestKustomizationsBuild(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join(root, "kustomize"))
	if err != nil {
		t.Fatal(err)
	}
	built := 0
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if regexp.MustCompile(`(?m)^kind: Component$`).Match(data) {
			return nil
		}
		built++
		objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Dir(path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		if objects.Size() == 0 {
			t.Errorf("%s builds nothing", path)
		}
		return nil
	})
	if err != nil || built == 0 {
		t.Fatalf("%d built: %v", built, err)
	}
}

// A merge that was not finished is valid YAML in some places and valid Markdown in all.
func TestNoConflictMarkers(t *testing.T) {
	marker := regexp.MustCompile(`(?m)^(<{7} |>{7} |={7}$)`)
	for _, top := range []string{"README.md", "CHANGELOG.md", "Makefile", "docs", "kustomize", "hack", ".ci"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if at := marker.FindIndex(data); at != nil {
				t.Errorf("%s holds a conflict marker: %q", path, data[at[0]:at[1]])
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
