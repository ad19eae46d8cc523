# The controller's image: a static binary and CA certificates, nothing else. docker build -t ghcr.io/siskin-dev/siskin:v0.1.0 .
FROM golang:1.26 AS build
ARG VERSION=v0.1.0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY pkg pkg
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /siskin ./cmd/siskin

FROM gcr.io/distroless/static:nonroot
COPY --from=build /siskin /siskin
USER 65532:65532
ENTRYPOINT ["/siskin"]
