package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/definition"
)

// maxDefinitionFile is the largest file that is read, in bytes.
const maxDefinitionFile = 4 << 20

func routerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "router", Short: "Work on RouterDefinitions"}
	cmd.AddCommand(&cobra.Command{
		Use: "verify FILE...", Short: "Run the fixtures of RouterDefinitions", Args: cobra.MinimumNArgs(1),
		Long: "Run the fixtures of the RouterDefinitions in these files (- is the standard input): one line for each, " +
			"and a diff where one fails.\n" +
			"ClusterRoles in the files are compared with what the definitions need.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return verifyRouters(cmd.Context(), cmd.OutOrStdout(), args)
		},
	})
	return cmd
}

// verifyRouters verifies all definitions in files and says so in out.
func verifyRouters(ctx context.Context, out io.Writer, files []string) error {
	failed, ran := 0, 0
	say := func(problem, diff, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		ran++
		if problem == "" {
			_, _ = fmt.Fprintf(out, "PASS %s\n", what)
			return
		}
		failed++
		_, _ = fmt.Fprintf(out, "FAIL %s: %s\n", what, problem)
		if diff != "" {
			_, _ = fmt.Fprintf(out, "     (- expected, + as it is)\n     %s\n", strings.ReplaceAll(diff, "\n", "\n     "))
		}
	}
	for _, file := range files {
		defs, roles, err := readDefinitions(file)
		if err != nil {
			say(err.Error(), "", "%s", file)
			continue
		}
		if len(defs) == 0 {
			say("it has no RouterDefinition", "", "%s", file)
		}
		for i := range defs {
			verifyRouter(ctx, &defs[i], roles, say)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, ran)
	}
	return nil
}

func verifyRouter(
	ctx context.Context, def *siskinv1.RouterDefinition, roles []rbacv1.ClusterRole,
	say func(problem, diff, format string, args ...any),
) {
	results, err := definition.Verify(ctx, def)
	if err != nil {
		say(err.Error(), "", "%s", def.Name)
		return
	}
	for _, r := range results {
		say(r.Problem, r.Diff, "%s/%s", def.Name, r.Fixture)
	}
	switch {
	case len(results) == 0:
		say("there are no fixtures: show in spec.fixtures what becomes of an object", "", "%s", def.Name)
	case len(roles) > 0:
		say(definition.CheckRole(def, roles), "", "%s (ClusterRole)", def.Name)
	}
}

// readDefinitions reads a file of YAML. Other kinds than RouterDefinition and ClusterRole are left out.
func readDefinitions(file string) (defs []siskinv1.RouterDefinition, roles []rbacv1.ClusterRole, err error) {
	data, err := readFile(file)
	if err != nil {
		return nil, nil, err
	}
	for i, doc := range strings.Split("\n"+string(data), "\n---") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			return nil, nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		switch kind.Kind {
		case "RouterDefinition":
			var def siskinv1.RouterDefinition
			if err := yaml.UnmarshalStrict([]byte(doc), &def); err != nil {
				return nil, nil, fmt.Errorf("document %d: %w", i+1, err)
			}
			if kind.APIVersion != siskinv1.GroupVersion.String() {
				return nil, nil, fmt.Errorf("document %d: apiVersion %q is not %s", i+1, kind.APIVersion, siskinv1.GroupVersion)
			}
			defs = append(defs, def)
		case "ClusterRole":
			var role rbacv1.ClusterRole
			if err := yaml.UnmarshalStrict([]byte(doc), &role); err != nil {
				return nil, nil, fmt.Errorf("document %d: %w", i+1, err)
			}
			roles = append(roles, role)
		}
	}
	return defs, roles, nil
}

func readFile(file string) ([]byte, error) {
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user names it
		if err != nil {
			return nil, fmt.Errorf("reading: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxDefinitionFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if len(data) > maxDefinitionFile {
		return nil, errors.New("it is larger than 4 MiB")
	}
	return data, nil
}
