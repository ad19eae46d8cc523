package build

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

// Where a build sees the repository, and where a kustomization that wraps the user's one lies. The repository has a
// directory of its own because kustomize takes a base that is above its user for a cycle.
const (
	repoDir = "/repo"
	wrapDir = "/siskin"
)

var errReadOnly = errors.New("a git commit cannot be written to")

// readOnlyFS shows a commit to kustomize. There is nothing else in it, so no path leads out of the repository. It keeps
// track of what was read, and looks at every kustomization and plugin configuration before kustomize does: kustomize would
// fetch remote ones with git and curl of its own.
type readOnlyFS struct {
	repo  tree.Tree
	added map[string][]byte // generated files by absolute path

	last    string // the file that was read last, for error messages
	refused error  // why a file was withheld
}

var _ filesys.FileSystem = (*readOnlyFS)(nil)

// inRepo turns an absolute path into one of the repository.
func inRepo(name string) (string, bool) {
	name = path.Clean(name)
	if name == repoDir {
		return ".", true
	}
	return strings.CutPrefix(name, repoDir+"/")
}

// ReadFile implements filesys.FileSystem.
func (f *readOnlyFS) ReadFile(name string) ([]byte, error) {
	if data, ok := f.added[path.Clean(name)]; ok {
		return data, nil
	}
	p, ok := inRepo(name)
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	data, err := f.repo.ReadFile(p)
	if err != nil {
		return nil, fmt.Errorf("reading a file of the commit: %w", err)
	}
	f.last = p
	if err := f.vet(p, data); err != nil {
		if f.refused == nil {
			f.refused = &Error{File: p, Err: err}
		}
		return nil, err
	}
	return data, nil
}

// IsDir implements filesys.FileSystem.
func (f *readOnlyFS) IsDir(name string) bool {
	if p, ok := inRepo(name); ok {
		return f.repo.IsDir(p)
	}
	name = path.Clean(name)
	return name == wrapDir || name == "/"
}

// Exists implements filesys.FileSystem.
func (f *readOnlyFS) Exists(name string) bool {
	if _, ok := f.added[path.Clean(name)]; ok || f.IsDir(name) {
		return true
	}
	p, ok := inRepo(name)
	return ok && f.repo.Exists(p)
}

// ReadDir implements filesys.FileSystem.
func (f *readOnlyFS) ReadDir(name string) ([]string, error) {
	p, ok := inRepo(name)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	names, err := f.repo.ReadDir(p)
	if err != nil {
		return nil, fmt.Errorf("reading a directory of the commit: %w", err)
	}
	return names, nil
}

// CleanedAbs implements filesys.FileSystem. Symbolic links are resolved, so that kustomize sees cycles.
func (f *readOnlyFS) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	clean := path.Join("/", name)
	if _, ok := f.added[clean]; ok {
		return filesys.ConfirmedDir(path.Dir(clean)), path.Base(clean), nil
	}
	p, ok := inRepo(clean)
	if !ok {
		if f.IsDir(clean) {
			return filesys.ConfirmedDir(clean), "", nil
		}
		return "", "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	target, err := f.repo.Resolve(p)
	if err != nil {
		return "", "", fmt.Errorf("resolving a path of the commit: %w", err)
	}
	abs := path.Join(repoDir, target)
	if f.repo.IsDir(target) {
		return filesys.ConfirmedDir(abs), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(abs)), path.Base(abs), nil
}

// Glob implements filesys.FileSystem.
func (f *readOnlyFS) Glob(pattern string) ([]string, error) {
	var out []string
	dir, base := path.Split(pattern)
	names, err := f.ReadDir(path.Clean(dir))
	if err != nil {
		return nil, nil //nolint:nilerr // nothing matches in a directory that is not there
	}
	for _, n := range names {
		ok, err := path.Match(base, n)
		if err != nil {
			return nil, fmt.Errorf("matching %q: %w", pattern, err)
		}
		if ok {
			out = append(out, dir+n)
		}
	}
	return out, nil
}

// Open implements filesys.FileSystem.
func (f *readOnlyFS) Open(name string) (filesys.File, error) { //nolint:ireturn // kustomize asks for it
	data, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &openFile{Reader: bytes.NewReader(data)}, nil
}

// Walk implements filesys.FileSystem; kustomize calls it for directories on the real disk only.
func (f *readOnlyFS) Walk(string, filepath.WalkFunc) error { return errors.ErrUnsupported }

// Create implements filesys.FileSystem.
//
//nolint:ireturn // kustomize asks for it
func (f *readOnlyFS) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir implements filesys.FileSystem.
func (f *readOnlyFS) Mkdir(string) error { return errReadOnly }

// MkdirAll implements filesys.FileSystem.
func (f *readOnlyFS) MkdirAll(string) error { return errReadOnly }

// RemoveAll implements filesys.FileSystem.
func (f *readOnlyFS) RemoveAll(string) error { return errReadOnly }

// WriteFile implements filesys.FileSystem.
func (f *readOnlyFS) WriteFile(string, []byte) error { return errReadOnly }

type openFile struct{ *bytes.Reader }

func (*openFile) Close() error               { return nil }
func (*openFile) Write([]byte) (int, error)  { return 0, errReadOnly }
func (*openFile) Stat() (os.FileInfo, error) { return nil, errors.ErrUnsupported }

// isKustomization tells whether kustomize takes a file of this name for a kustomization.
func isKustomization(name string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, path.Base(name))
}

// isManifest tells whether a file is taken when a directory has no kustomization.
func isManifest(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}
