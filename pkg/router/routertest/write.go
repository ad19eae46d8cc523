package routertest

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/internal/ssa"
)

// Write writes obj as all is written that is Siskin's as a whole; live, which must be of obj's type, holds the result.
func Write(ctx context.Context, c client.Client, obj, live client.Object) error {
	return ssa.ApplyOwned(ctx, c, obj, live, "")
}
