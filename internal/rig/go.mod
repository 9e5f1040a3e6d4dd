module github.com/tullemesh/tulle/internal/rig

go 1.26.0

replace github.com/tullemesh/tulle => ../..

require (
	github.com/tullemesh/tulle v0.0.0-00010101000000-000000000000
	golang.org/x/net v0.62.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
