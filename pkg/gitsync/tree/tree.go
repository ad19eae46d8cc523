// Package tree holds the content of one commit. It is pure: paths are resolved in memory, so that neither ".." nor a
// symbolic link can reach anything outside the repository.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxLinks bounds the symbolic links that one path may pass, as operating systems do.
const maxLinks = 40

var (
	// ErrNotExist : the commit has no such path.
	ErrNotExist = errors.New("does not exist in the repository")
	// ErrEscapes : the path, or a symbolic link on it, leaves the repository.
	ErrEscapes = errors.New("leaves the repository")
	// ErrLoop : the path passes too many symbolic links.
	ErrLoop = errors.New("passes too many symbolic links")
)

// Entry is a file or a symbolic link.
type Entry struct {
	// Link is the target of a symbolic link, else empty.
	Link string
	// Read returns the content of a file.
	Read func() ([]byte, error)
}

// Tree is the content of a commit. The zero value is empty.
type Tree struct {
	entries  map[string]Entry
	dirs     map[string]map[string]struct{}
	unusable []string
}

// New makes a Tree of entries by slash-separated path from the repository's root. The Tree keeps the map.
func New(entries map[string]Entry) Tree {
	t := Tree{entries: entries, dirs: map[string]map[string]struct{}{".": {}}}
	for name := range entries {
		if !fs.ValidPath(name) {
			delete(entries, name)
			t.unusable = append(t.unusable, name)
			continue
		}
		for name != "." {
			dir := path.Dir(name)
			if t.dirs[dir] == nil {
				t.dirs[dir] = map[string]struct{}{}
			}
			t.dirs[dir][path.Base(name)] = struct{}{}
			name = dir
		}
	}
	slices.Sort(t.unusable)
	return t
}

// Unusable lists the files that are not in the Tree because nothing could name them, sorted: names that are not UTF-8,
// as an old Windows writes them, and those that a hostile repository may hold and no file system would check out.
func (t Tree) Unusable() []string { return slices.Clone(t.unusable) }

// All yields the files and symbolic links by path, in no order.
func (t Tree) All() iter.Seq2[string, Entry] { return maps.All(t.entries) }

// FromFiles makes a Tree of files by path and content, as tests like it.
func FromFiles(files map[string]string) Tree {
	entries := make(map[string]Entry, len(files))
	for name, content := range files {
		entries[name] = Entry{Read: func() ([]byte, error) { return []byte(content), nil }}
	}
	return New(entries)
}

// Resolve follows all symbolic links of name and returns the path of what it leads to; the root is ".".
func (t Tree) Resolve(name string) (string, error) {
	if path.IsAbs(name) {
		return "", fmt.Errorf("path %q %w", name, ErrEscapes)
	}
	at, rest, links := ".", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return "", fmt.Errorf("path %q %w", name, ErrEscapes)
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		e, isEntry := t.entries[next]
		if isEntry && e.Link != "" {
			if links++; links > maxLinks {
				return "", fmt.Errorf("path %q %w", name, ErrLoop)
			}
			if path.IsAbs(e.Link) {
				return "", fmt.Errorf("path %q: the symbolic link %q %w", name, next, ErrEscapes)
			}
			rest = slices.Concat(strings.Split(e.Link, "/"), rest)
			continue
		}
		if _, isDir := t.dirs[next]; !isDir && (!isEntry || len(rest) > 0) {
			return "", fmt.Errorf("path %q %w", name, ErrNotExist)
		}
		at = next
	}
	return at, nil
}

// IsDir tells whether name leads to a directory.
func (t Tree) IsDir(name string) bool {
	p, err := t.Resolve(name)
	if err != nil {
		return false
	}
	_, ok := t.dirs[p]
	return ok
}

// Exists tells whether name leads to a file or a directory.
func (t Tree) Exists(name string) bool {
	_, err := t.Resolve(name)
	return err == nil
}

// ReadFile returns the content of the file that name leads to.
func (t Tree) ReadFile(name string) ([]byte, error) {
	p, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	e, ok := t.entries[p]
	if !ok {
		return nil, fmt.Errorf("path %q is a directory", name)
	}
	data, err := e.Read()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p, err)
	}
	return data, nil
}

// ReadDir lists the names in the directory that name leads to, sorted.
func (t Tree) ReadDir(name string) ([]string, error) {
	p, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	dir, ok := t.dirs[p]
	if !ok {
		return nil, fmt.Errorf("path %q is not a directory", name)
	}
	names := make([]string, 0, len(dir))
	for n := range dir {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}
