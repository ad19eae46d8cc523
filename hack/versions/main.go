// Command versions compares the modules that the servers of the local cluster (tools/*) share with Siskin: the same
// version of a module is compiled once for all of them, another one once more. With -fix it raises the tools' versions
// to Siskin's.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	fix := flag.Bool("fix", false, "raise the versions of the tools")
	flag.Parse()
	if err := run(".", *fix); err != nil {
		slog.Error("versions differ", "error", err)
		os.Exit(1)
	}
}

// tools are the folders of modules that share packages with Siskin. Kubernetes fits its own libraries, and is left as
// it is.
func tools() []string { return []string{"podinfo", "servers"} }

// differs tells why a module of a tool has a version of its own, or nothing.
func differs(module string) string {
	switch module {
	case "github.com/json-iterator/go":
		return "tools/servers replaces Traefik's wish, a commit without a tag, by the release that Siskin has"
	case "github.com/miekg/dns", "github.com/spf13/cast":
		return "small, and used by few packages"
	}
	return ""
}

func run(root string, fix bool) error {
	differences, err := compare(root)
	if err != nil || len(differences) == 0 {
		return err
	}
	if !fix {
		return fmt.Errorf("%s: go run ./hack/versions -fix", strings.Join(differences, "; "))
	}
	byTool := map[string][]string{}
	for _, d := range differences {
		fields := strings.Fields(d) // tool module version, not version
		byTool[fields[0]] = append(byTool[fields[0]], fields[1]+"@"+fields[4])
	}
	for tool, modules := range byTool {
		if tool == "servers" {
			for _, name := range []string{"prometheus", "traefik"} {
				if err := command(root, "hack/patch-module.sh", name); err != nil {
					return err
				}
			}
		}
		dir := filepath.Join(root, "tools", tool)
		if err := command(dir, "go", append([]string{"get"}, modules...)...); err != nil {
			return err
		}
		if err := command(dir, "go", "mod", "tidy"); err != nil {
			return err
		}
	}
	return nil
}

func command(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...) //nolint:noctx // for a developer, who can end it
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s in %s: %w", name, dir, err)
	}
	return nil
}

// compare returns a line "tool module version, not version" for each difference.
func compare(root string) ([]string, error) {
	own, err := requirements(root)
	if err != nil {
		return nil, err
	}
	servers, err := requirements(filepath.Join(root, "tools", "servers"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, tool := range tools() {
		theirs, err := requirements(filepath.Join(root, "tools", tool))
		if err != nil {
			return nil, err
		}
		for module, version := range theirs {
			want := own[module]
			if want == "" {
				want = servers[module]
			}
			if want != "" && want != version && differs(module) == "" {
				out = append(out, fmt.Sprintf("%s %s %s, not %s", tool, module, version, want))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// requirements reads a go.mod: module to version.
func requirements(dir string) (map[string]string, error) {
	cmd := exec.Command("go", "mod", "edit", "-json") //nolint:noctx // it reads a file
	cmd.Dir = dir
	data, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("reading the go.mod of %s: %w", dir, err)
	}
	var mod struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(data, &mod); err != nil {
		return nil, fmt.Errorf("reading the go.mod of %s: %w", dir, err)
	}
	out := map[string]string{}
	for _, r := range mod.Require {
		out[r.Path] = r.Version
	}
	return out, nil
}
