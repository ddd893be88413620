// The AWS provider's schema over the real plugin protocol, for `tofu validate` and `tofu test` with mocks. It holds the
// schema alone, which `derive` has made: it can neither be configured nor asked for anything.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

type attribute struct {
	Type                         json.RawMessage
	Required, Optional, Computed bool
}

type nested struct {
	Nesting  string
	Min, Max int64
	Block    block
}

type block struct {
	Attributes map[string]attribute
	Blocks     map[string]nested
}

type schemas struct {
	Provider       block
	Resource, Data map[string]block
}

var nestings = map[string]tfprotov5.SchemaNestedBlockNestingMode{
	"list":   tfprotov5.SchemaNestedBlockNestingModeList,
	"set":    tfprotov5.SchemaNestedBlockNestingModeSet,
	"single": tfprotov5.SchemaNestedBlockNestingModeSingle,
}

func (b block) wire() *tfprotov5.SchemaBlock {
	wire := &tfprotov5.SchemaBlock{}
	for name, a := range b.Attributes {
		kind, err := tftypes.ParseJSONType(a.Type)
		if err != nil {
			panic(err)
		}
		wire.Attributes = append(wire.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: kind, Required: a.Required, Optional: a.Optional, Computed: a.Computed,
		})
	}
	for name, n := range b.Blocks {
		wire.BlockTypes = append(wire.BlockTypes, &tfprotov5.SchemaNestedBlock{
			TypeName: name, Nesting: nestings[n.Nesting], MinItems: n.Min, MaxItems: n.Max, Block: n.Block.wire(),
		})
	}
	return wire
}

// What tofu leaves to the provider's framework: an attribute that only the provider can set is not set.
func (b block) validate(config *tfprotov5.DynamicValue) ([]*tfprotov5.Diagnostic, error) {
	value, err := config.Unmarshal((&tfprotov5.Schema{Block: b.wire()}).ValueType())
	if err != nil {
		return nil, err
	}
	return b.unconfigurable(value, tftypes.NewAttributePath())
}

func (b block) unconfigurable(value tftypes.Value, path *tftypes.AttributePath) (said []*tfprotov5.Diagnostic, err error) {
	if value.IsNull() || !value.IsKnown() {
		return nil, nil
	}
	values := map[string]tftypes.Value{}
	if err := value.As(&values); err != nil {
		return nil, err
	}
	for name, a := range b.Attributes {
		if a.Computed && !a.Optional && !values[name].IsNull() {
			said = append(said, &tfprotov5.Diagnostic{
				Severity:  tfprotov5.DiagnosticSeverityError,
				Summary:   "Value for unconfigurable attribute",
				Detail:    name + " is the provider's to set.",
				Attribute: path.WithAttributeName(name),
			})
		}
	}
	for name, n := range b.Blocks {
		inner := []tftypes.Value{values[name]}
		if n.Nesting != "single" && values[name].IsKnown() {
			if err := values[name].As(&inner); err != nil {
				return nil, err
			}
		}
		for _, of := range inner {
			more, err := n.Block.unconfigurable(of, path.WithAttributeName(name))
			if err != nil {
				return nil, err
			}
			said = append(said, more...)
		}
	}
	return said, nil
}

func wire(blocks map[string]block) map[string]*tfprotov5.Schema {
	wire := map[string]*tfprotov5.Schema{}
	for name, b := range blocks {
		wire[name] = &tfprotov5.Schema{Block: b.wire()}
	}
	return wire
}

// Methods that are not here are nobody's to call before ConfigureProvider, which fails.
type server struct {
	tfprotov5.ProviderServer
	schemas schemas
}

func (s server) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	response := &tfprotov5.GetMetadataResponse{}
	for name := range s.schemas.Resource {
		response.Resources = append(response.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for name := range s.schemas.Data {
		response.DataSources = append(response.DataSources, tfprotov5.DataSourceMetadata{TypeName: name})
	}
	return response, nil
}

func (s server) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return &tfprotov5.GetProviderSchemaResponse{
		Provider:          &tfprotov5.Schema{Block: s.schemas.Provider.wire()},
		ResourceSchemas:   wire(s.schemas.Resource),
		DataSourceSchemas: wire(s.schemas.Data),
	}, nil
}

func (server) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (server) PrepareProviderConfig(_ context.Context, request *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: request.Config}, nil
}

func (s server) ValidateResourceTypeConfig(_ context.Context, request *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	said, err := s.schemas.Resource[request.TypeName].validate(request.Config)
	return &tfprotov5.ValidateResourceTypeConfigResponse{Diagnostics: said}, err
}

func (s server) ValidateDataSourceConfig(_ context.Context, request *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	said, err := s.schemas.Data[request.TypeName].validate(request.Config)
	return &tfprotov5.ValidateDataSourceConfigResponse{Diagnostics: said}, err
}

func (server) ConfigureProvider(context.Context, *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	return &tfprotov5.ConfigureProviderResponse{Diagnostics: []*tfprotov5.Diagnostic{{
		Severity: tfprotov5.DiagnosticSeverityError,
		Summary:  "This holds only the schema of the AWS provider",
		Detail:   "A configuration can be validated with it, and tested with mocks. It cannot plan, and knows no AWS.",
	}}}, nil
}

// There is one version of each schema. tofu asks for this of its own mocks' resources when it removes them.
func (s server) UpgradeResourceState(_ context.Context, request *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	kind := (&tfprotov5.Schema{Block: s.schemas.Resource[request.TypeName].wire()}).ValueType()
	state, err := request.RawState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	same, err := tfprotov5.NewDynamicValue(kind, state)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &same}, err
}

func (server) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

// The schema lies beside the program, which tofu starts without arguments.
func read() (schemas, error) {
	var read schemas
	program, err := os.Executable()
	if err != nil {
		return read, err
	}
	program, err = filepath.EvalSymlinks(program)
	if err != nil {
		return read, err
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(program), "aws-schema.json"))
	if err != nil {
		return read, err
	}
	return read, json.Unmarshal(text, &read)
}

func main() {
	read, err := read()
	if err == nil {
		err = tf5server.Serve("aws", func() tfprotov5.ProviderServer { return server{schemas: read} })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "aws-schema:", err)
		os.Exit(1)
	}
}
